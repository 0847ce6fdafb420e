"""`da cache`: what the cache on disk holds, and its removal."""

import argparse
import time

from da.command import Parser, run_command
from da.data.store import GB, cache_folder, cache_limit, clear, entries

EPILOG = """The folder is the environment variable DA_CACHE (~/.cache/lambda-da/cache), its bound DA_CACHE_GB (20).
Among the kinds are images (decoded files), features (of frozen backbones), hashes (of files, while unchanged)."""


def main(arguments: list[str]) -> int:
    """Run `da cache` with the words after it; see `run_command` for the exit status."""
    return run_command("cache", lambda: _cache(arguments))


def _cache(arguments: list[str]) -> None:
    parser = Parser(
        prog="da cache",
        description="Show what is in the cache, or remove it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", nargs="?", choices=["show", "clear"], default="show", help="show (default) or clear")
    parser.add_argument("kind", nargs="?", metavar="KIND", help="show or clear entries of this kind only")
    chosen = parser.parse_args(arguments)
    (_show if chosen.action == "show" else _clear)(chosen.kind)


def _show(kind: str | None) -> None:
    found = [entry for entry in entries() if kind in (None, entry.kind) and entry.bytes()]
    print(f"{cache_folder()}: {sum(entry.bytes() for entry in found) / GB:.2f} of {cache_limit() / GB:g} GB")
    for name in sorted({entry.kind for entry in found}):
        own = [entry for entry in found if entry.kind == name]
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(max(entry.last_use() for entry in own)))
        size = sum(entry.bytes() for entry in own) / GB
        print(f"  {name:10} {len(own):5} {'entry  ' if len(own) == 1 else 'entries'} {size:8.2f} GB  last used {used}")


def _clear(kind: str | None) -> None:
    if kind is not None and kind not in (kinds := sorted({entry.kind for entry in entries()})):
        raise ValueError(f"the cache has nothing of the kind {kind!r}; it has {', '.join(kinds) or 'nothing'}")
    removed, size, busy = clear(kind)
    kept = f"; {busy} stay, another process is making or opening them" if busy else ""
    print(f"removed {removed} {'entry' if removed == 1 else 'entries'}, {size / GB:.2f} GB{kept}")
