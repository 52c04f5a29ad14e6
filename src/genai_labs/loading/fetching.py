"""``python -m genai_labs fetch``: bring all that a profile loads to this machine, so that the labs then run offline."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import writable_folder
from genai_labs.loading import checksums, data, hub, sources
from genai_labs.loading.profiles import FOLDER_VARIABLE, SOURCES, load_profile

SPLITS = ("train", "validation", "test")  # that the labs read; a download that was interrupted lacks some


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch, check, and say what to do next."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs fetch", description=plain(__doc__))
    parser.add_argument("--profile", help="what to fetch for (default: mini, or GENAI_LABS_PROFILE)")
    parser.add_argument(
        "--to", type=writable_folder, metavar="DIR", help="a folder to carry away, instead of the hub's cache"
    )
    parser.add_argument("--again", action="store_true", help="fetch even what is here already, which may be damaged")
    args = parser.parse_args(argv)
    profile = load_profile(args.profile)
    for part in SOURCES:
        fetch_part(part, getattr(profile, part), args.to, args.again)
    run = f"python -m genai_labs run --profile {profile.name}"
    if args.to:
        print(f"To run from it, set the variable {FOLDER_VARIABLE} to {args.to.resolve()}, and: {run}")
    else:
        print(f"All of it is on this machine. To run: {run}")
    return 0


def fetch_part(part: str, source: str, to: Path | None, again: bool) -> Path:
    """Fetch one part of a profile, or find it on this machine; a folder to carry away is checked by its sums."""
    kind: sources.Kind = "dataset" if part == "dataset" else "model"
    name = part.replace("_", " ")
    if sources.is_folder(source):
        folder = hub.find(source, kind)
        print(f"{name}: the folder {source}, nothing to fetch")
        return folder
    found = None if again or to else sources.cached(source, kind)
    if found and (kind == "model" or all(data.find_split(found, split) for split in SPLITS)):
        print(f"{name}: {source} is here already")
        return found
    if to and again:
        (to / part / checksums.SUMS).unlink(missing_ok=True)  # what is fetched anew may be another version
    folder = hub.fetch(source, kind, to / part if to else None, again)
    checksums.check_sums(folder)
    if to:
        checksums.write_sums(folder)
    files = [path for path in folder.iterdir() if path.is_file()]
    print(f"{name}: {source}, {sum(path.stat().st_size for path in files) / 1e6:,.1f} MB")
    return folder
