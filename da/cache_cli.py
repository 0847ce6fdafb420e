"""`da cache`: what the cache on disk holds, and its removal."""

import argparse
import sys
import time

from da.data.store import GB, cache_folder, cache_limit, clear, entries

EPILOG = """The folder is the environment variable DA_CACHE (~/.cache/lambda-da/cache), its bound DA_CACHE_GB (20).
Among the kinds are images (decoded files), features (of frozen backbones), hashes (of files, while unchanged)."""


def main(arguments: list[str]) -> int:
    """Run `da cache` with the words after it; 0, or 1 for what can't be done, or 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="da cache",
        description="Show what is in the cache, or remove it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", nargs="?", choices=["show", "clear"], default="show", help="show (default) or clear")
    parser.add_argument("kind", nargs="?", metavar="KIND", help="clear entries of this kind only")
    try:
        chosen = parser.parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        return _show(chosen.kind) if chosen.action == "show" else _clear(chosen.kind)
    except (OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def _show(kind: str | None) -> int:
    found = [entry for entry in entries() if kind in (None, entry.kind) and entry.bytes()]
    print(f"{cache_folder()}: {sum(entry.bytes() for entry in found) / GB:.2f} of {cache_limit() / GB:g} GB")
    for name in sorted({entry.kind for entry in found}):
        own = [entry for entry in found if entry.kind == name]
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(max(entry.last_use() for entry in own)))
        size = sum(entry.bytes() for entry in own) / GB
        print(f"  {name:10} {len(own):5} {'entry  ' if len(own) == 1 else 'entries'} {size:8.2f} GB  last used {used}")
    return 0


def _clear(kind: str | None) -> int:
    if kind is not None and kind not in (kinds := sorted({entry.kind for entry in entries()})):
        raise ValueError(f"the cache has nothing of the kind {kind!r}; it has {', '.join(kinds) or 'nothing'}")
    removed, size, busy = clear(kind)
    kept = f"; {busy} stay, another process is making or opening them" if busy else ""
    print(f"removed {removed} {'entry' if removed == 1 else 'entries'}, {size / GB:.2f} GB{kept}")
    return 0
