"""glTF files brought into a form that Blender's importer reads: meshopt's compression is undone."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from blender_render.rendering import meshopt
from blender_render.rendering.asset_failures import AssetFailure
from training_core.files.json_files import parse_json

COMPRESSED = ("EXT_meshopt_compression", "KHR_meshopt_compression")
TEXTURES = "KHR_texture_basisu"
UNPACK = "this decompresses it: npx @gltf-transform/cli cp IN.glb OUT.glb"
_TO_PNG = "this makes PNGs of them: npx @gltf-transform/cli ktxdecompress IN.glb OUT.glb"
_MAGIC, _JSON, _BIN = b"glTF", b"JSON", b"BIN\0"


def readable_gltf(path: Path, work: Path) -> Path:
    """The file itself, or where it needs it a copy in ``work`` without meshopt's compression, and
    without insisting on KTX2 textures that have a PNG or JPEG beside them.

    A file that is damaged is given back as it is: what the importer says of it is as good.

    Raises:
        AssetFailure: unsupported_extension (textures that are KTX2 alone, a newer compression),
            import_error (damaged compressed data).
    """
    content = _read(path)
    if content is None:
        return path
    document, binary = content
    asked = {str(name) for name in document.get("extensionsUsed") or ()}
    asked |= {str(name) for name in document.get("extensionsRequired") or ()}
    if TEXTURES in asked:
        _require_other_pictures(document)
    packed = [view for view in document.get("bufferViews") or () if _packing(view)]
    if not packed and not asked & {TEXTURES, *COMPRESSED}:
        return path
    if packed:
        binary = _unpacked(document, binary, path.parent)
    for key in ("extensionsUsed", "extensionsRequired"):
        kept = [n for n in document.pop(key, None) or () if n not in (TEXTURES, *COMPRESSED)]
        document |= {key: kept} if kept else {}
    for image in document.get("images") or ():
        image |= {"uri": _from_elsewhere(image["uri"], path.parent)} if "uri" in image else {}
    for buffer in document.get("buffers") or ():
        buffer |= {"uri": _from_elsewhere(buffer["uri"], path.parent)} if "uri" in buffer else {}
    target = work / "unpacked.glb"
    target.write_bytes(_glb(document, binary))
    return target


def _read(path: Path) -> tuple[dict[str, Any], bytes] | None:
    """The JSON and the binary chunk of a .glb or .gltf file; None where it is neither."""
    data = path.read_bytes()
    binary = b""
    if data[:4] == _MAGIC:
        chunks, at = {}, 12
        while at + 8 <= len(data):
            (size,), kind = struct.unpack_from("<I", data, at), data[at + 4 : at + 8]
            chunks[kind] = data[at + 8 : at + 8 + size]
            at += 8 + size
        data, binary = chunks.get(_JSON, b""), chunks.get(_BIN, b"")
    try:
        document = parse_json(data)
    except ValueError:
        return None
    return (document, binary) if isinstance(document, dict) else None


def _glb(document: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(document).encode()
    chunks = [(_JSON, text + b" " * (-len(text) % 4)), (_BIN, binary + b"\0" * (-len(binary) % 4))]
    parts = [struct.pack("<I", len(part)) + kind + part for kind, part in chunks if part]
    return _MAGIC + struct.pack("<II", 2, 12 + sum(map(len, parts))) + b"".join(parts)


def _require_other_pictures(document: dict[str, Any]) -> None:
    """Of each texture that is KTX2; one without a PNG or JPEG would be white without a word."""
    for texture in document.get("textures") or ():
        if TEXTURES in texture.get("extensions", {}) and "source" not in texture:
            raise AssetFailure(
                "unsupported_extension", f"{TEXTURES}: KTX2 textures are not read; {_TO_PNG}"
            )


def _packing(view: dict[str, Any]) -> dict[str, Any] | None:
    """How a buffer view is compressed, or None."""
    extensions = view.get("extensions", {})
    return next((extensions[name] for name in COMPRESSED if name in extensions), None)


def _unpacked(document: dict[str, Any], binary: bytes, folder: Path) -> bytes:
    """All buffer views in one buffer, the only one of the document from then on."""
    buffers = document.get("buffers") or []
    read: dict[int, bytes] = {}
    made = bytearray()
    for view in document["bufferViews"]:
        packing = _packing(view)
        where = packing or view
        try:
            number = where["buffer"]
            if number not in read:
                uri = buffers[number].get("uri")
                read[number] = binary if uri is None else _bytes_of(uri, folder)
            start = where.get("byteOffset", 0)
            data = read[number][start : start + where["byteLength"]]
            if packing:
                shape = packing["count"], packing["byteStride"], packing["mode"]
                data = meshopt.decode(data, *shape, packing.get("filter", "NONE"))
        except OSError as error:
            said = f"{error.filename}: {error.strerror}"
            raise AssetFailure("import_error", said) from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            known = "version" not in str(error) and "known" not in str(error)
            reason = "import_error" if known else "unsupported_extension"
            said = f"meshopt_compression: {error}; {UNPACK}"
            raise AssetFailure(reason, said) from error
        made += b"\0" * (-len(made) % 16)
        view |= {"buffer": 0, "byteOffset": len(made), "byteLength": len(data)}
        for name in COMPRESSED:
            view.get("extensions", {}).pop(name, None)
        made += data
    document["buffers"] = [{"byteLength": len(made)}]
    return bytes(made)


def _bytes_of(uri: str, folder: Path) -> bytes:
    if uri.startswith("data:"):
        header, _, text = uri.partition(",")
        return base64.b64decode(text) if header.endswith(";base64") else unquote(text).encode()
    return (folder / unquote(uri)).read_bytes()


def _from_elsewhere(uri: str, folder: Path) -> str:
    """A relative path as one that a file in another folder can use."""
    return uri if uri.startswith("data:") else quote(str((folder / unquote(uri)).resolve()))
