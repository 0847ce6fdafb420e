"""Where the files of a domain lie: in a folder of the user's, or at one of the known places of a shipped data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from da.data.classes import listed
from da.data.download import data_root, how_to_set_root
from da.data.files import Files, file_sha256


def own_files(name: str, root: str | None) -> Files:
    """Return the files of a folder or archive: `name` as given, else below the root.

    Raises FileNotFoundError if it is at neither place.
    """
    given, folder = Path(name).expanduser(), data_root(root)
    tried = [given] if folder is None or given.is_absolute() else [given, folder / given]
    for path in tried:
        if path.exists():
            return Files(path)
    looked = " or ".join(map(str, tried))
    raise FileNotFoundError(f"there is no folder or archive {looked}. {how_to_set_root(root)}")


@dataclass(frozen=True)
class Places:
    """The domains of a shipped data set, and where it may lie.

    Attributes:
        places: folders or .zip archives below the root; the first that has a domain is read.
        domains: folder of each domain in a place; None: its name. In a folder it may be a .zip archive of that name.
        fetch: what to get from where, and where to put it: for the message when it is nowhere.
        sha256: of archives, by path below the root; checked before anything of them is used.
        root: folder of the data; None: the environment variable DA_DATA_ROOT.
    """

    places: Sequence[str]
    domains: Mapping[str, str] | None
    fetch: str
    sha256: Mapping[str, str]
    root: str | None

    def check(self, names: Sequence[str]) -> None:
        """Raise ValueError for a domain that there is not."""
        if self.domains is not None and (unknown := set(names) - self.domains.keys()):
            raise ValueError(
                f"there is no domain {listed(unknown)}: data.source and data.target are of {listed(self.domains)}"
            )

    def inside(self, name: str) -> str:
        """Return the folder of a domain in its place."""
        return name if self.domains is None else self.domains[name]

    def find(self, name: str) -> tuple[Files, Files]:
        """Return the files of a domain, and those of its place, of which nothing is known but how to read them.

        Raises FileNotFoundError saying what to fetch, and ValueError for an archive that is not what it should be.
        """
        folder, missing = data_root(self.root), []
        for place in self.places if folder else ():
            path, inside = Path(folder or "", place), self.inside(name)
            archive = path / f"{inside}.zip"
            if (path / inside).is_dir():
                return Files(path, inside), Files(path, names=())
            if archive.is_file():
                return self._archived(archive, f"{place}/{inside}.zip", inside), Files(path, names=())
            if path.is_file():
                try:
                    return self._archived(path, place, inside), Files(path, names=())
                except FileNotFoundError:
                    missing.append(f"no folder {inside} in {path}")
                    continue
            missing.append(f"no {path / inside if path.exists() else path}")
        looked = " and ".join(missing) or "no folder of data is named"
        raise FileNotFoundError(f"no files of {name!r}: {looked}. {self.fetch} {how_to_set_root(self.root)}")

    def _archived(self, path: Path, place: str, inside: str) -> Files:
        expected = self.sha256.get(place)
        if expected is not None and (found := file_sha256(path)) != expected:
            raise ValueError(
                f"{path} is not the file it should be: its sha256 is {found}, expected {expected}. Copy it again"
            )
        try:
            return Files(path, inside)
        except FileNotFoundError:
            if path.stem != Path(inside).name:  # an archive that is named like the domain may hold nothing else
                raise
            return Files(path)
