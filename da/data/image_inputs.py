"""Image files for networks that were trained on images of another origin, such as an archive of digits."""

from abc import ABC
from typing import Literal

from da.data.base import DomainData
from da.data.folder import Folder
from da.data.images import ToNetwork
from da.data.rows import Rows, Transform


class ImageInputs(DomainData, ABC):
    """Data whose rows are no files, but which read new ones from image files: squeezed to the network's size."""

    transform: ToNetwork
    on_bad: Literal["error", "skip"] = "error"
    """What to do about a file that can't be read, as in `Folder`."""

    def transforms(self, name: str) -> tuple[Transform | None, Transform | None]:
        """Return what becomes of a domain's rows when they are trained on, and when they are scored."""
        return self.transform, self.transform

    def inputs(self, where: str) -> tuple[Rows, list[str]]:
        transform = self.transform
        facts = {"size": transform.size, "channels": transform.channels, "mean": transform.mean, "std": transform.std}
        files = Folder("source", "target", facts, on_bad=self.on_bad, resize=transform.size, batch_size={})
        read = files.inputs(where)
        self.notices += files.notices
        return read
