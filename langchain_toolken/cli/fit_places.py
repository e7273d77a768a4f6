"""Where `toolken fit` writes: places that would be in each other's way are refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import typer


def synthesized_beside(out: Path) -> Path:
    """Return the file of made-up demonstrations that belongs to `--out` by default."""
    return (out if out.name else out.resolve()).with_name(f"{out.name or out.resolve().name}.synthesized.jsonl")


def check_places(
    out: Path, features: Path | None, synthesized: Path | None, demos: Path | None, *, made_by_default: bool
) -> None:
    """Refuse places of which one would be deleted, or be refused at the end, because of another.

    Args:
        out: The toolkens' folder, which a save replaces as a whole.
        features: The features' folder, which holds nothing else.
        synthesized: The file that made-up demonstrations are appended to, if any are made.
        demos: The user's demonstrations, which are only read.
        made_by_default: Whether `synthesized` was chosen by the command.

    Raises:
        typer.BadParameter: Names the two options.
    """
    if features is not None and (_inside(features, out) or _inside(out, features)):
        raise typer.BadParameter(
            f"--features {features} and --out {out} are one folder or one inside the other, and each holds only its "
            "own files: give two folders side by side"
        )
    if synthesized is None:
        return
    option = f"the made-up demonstrations ({synthesized})" if made_by_default else f"--synthesis-out {synthesized}"
    for name, folder in (("--out", out), ("--features", features)):
        if folder is not None and (_inside(synthesized, folder) or _inside(folder, synthesized)):
            raise typer.BadParameter(
                f"{option} can't be in {name} {folder}, which holds only its own files: give --synthesis-out a file "
                "elsewhere"
            )
    if demos is not None and demos.resolve() == synthesized.resolve():
        raise typer.BadParameter(
            f"{option} is --demos too, and made-up rows would be appended to it: give --synthesis-out another file"
        )


def _inside(place: Path, folder: Path) -> bool:
    """Whether `place` is `folder` or in it, links followed."""
    return place.resolve().is_relative_to(folder.resolve())
