"""metrics.csv, of which a run that goes on keeps what was written before its checkpoint."""

import csv
import io
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities import rank_zero_only

from da.record import write_whole


class _Writer(ExperimentWriter):
    """Lightning's writer, which a kill at any moment leaves with every row that was saved."""

    def __init__(self, folder: Path) -> None:
        super().__init__(log_dir=str(folder))
        self.rows = 0

    def _check_log_dir_exists(self) -> None:
        """Leave the file that is there, which Lightning's would delete."""

    def keep(self, rows: int) -> None:
        """Forget what the file has behind so many rows."""
        path = Path(self.metrics_file_path)
        if not rows:
            path.unlink(missing_ok=True)
            return
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            kept = [row for row, _ in zip(reader, range(rows), strict=False)]
            self.metrics_keys = list(reader.fieldnames or ())
        self._write(kept)
        self.rows = len(kept)

    def save(self) -> None:
        self.rows += len(self.metrics)
        super().save()

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with Path(self.metrics_file_path).open(newline="") as file:
            self._write(list(csv.DictReader(file)))

    def _write(self, rows: list[dict[str, Any]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.metrics_keys)
        writer.writeheader()
        writer.writerows(rows)
        write_whole(Path(self.metrics_file_path), text.getvalue())


class MetricsFile(CSVLogger):
    """Writes metrics.csv into `folder`, after the first `rows` rows of the one that is there.

    Those are the rows from before a checkpoint. What came after it comes again.
    """

    def __init__(self, folder: Path, rows: int = 0) -> None:
        super().__init__(folder, name="", version="")
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = _Writer(folder)
        self._experiment = self._writer
        self._keep(rows)

    @rank_zero_only
    def _keep(self, rows: int) -> None:
        self._writer.keep(rows)

    @property
    def rows(self) -> int:
        """Rows so far, saved or not."""
        return self._writer.rows + len(self._writer.metrics)
