"""Models that someone has changed."""

import shutil

from llavamed import artifact, storage
from llavamed.manifest import seal


def edited(model, folder, edit):
    """A copy of a model with an edit, and a manifest that fits it."""
    shutil.copytree(model, folder)
    edit(folder)
    manifest = artifact.read_manifest(folder)
    files = {name: {"sha256": storage.sha256_file(folder / name), "bytes": (folder / name).stat().st_size}
             for name in manifest["files"]}  # fmt: skip
    manifest |= {"files": files, "hash": artifact.content_hash("model", files)}
    manifest["sha256"] = seal(manifest)
    storage.write_json(folder / "manifest.json", manifest)
    return folder
