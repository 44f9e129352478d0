#!/usr/bin/env python3
"""Makes data/answer/agama.json of Agama's published schemas.

    generate_agama.py FOLDER > data/answer/agama.json

FOLDER holds profile.schema.json and the schemas it refers to, which Agama has in
rust/share. They become one, without what is for people; what imgbuild's checker does
not know (`not`, and choices that only say which keys go together) is left out.
"""

import json
import pathlib
import sys

KEPT = {
    "type", "required", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength",
    "minItems", "maxItems", "minProperties", "maxProperties",
}  # fmt: skip
FOLDER = pathlib.Path(sys.argv[1])
DEFINITIONS = {}


def file_name(name):
    """What the definition of a whole file is called."""
    return name.removesuffix(".schema.json").replace(".", "-")


def load(name):
    """Adds a file's definitions, once."""
    if file_name(name) in DEFINITIONS:
        return
    DEFINITIONS[file_name(name)] = None
    text = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    for key, value in text.get("$defs", {}).items():
        DEFINITIONS[f"{file_name(name)}-{key}"] = plain(value, name)
    DEFINITIONS[file_name(name)] = plain(text, name)


def reference(value, name):
    """A reference in a file, as one in the whole."""
    file, _, inner = value.partition("#/$defs/")
    file = file or name
    load(file)
    return f"#/$defs/{file_name(file)}-{inner}" if inner else f"#/$defs/{file_name(file)}"


def plain(schema, name):
    """A schema without what is left out."""
    if not isinstance(schema, dict):
        return schema
    out = {key: value for key, value in schema.items() if key in KEPT}
    if "const" in schema:
        out["enum"] = [schema["const"]]
    if "$ref" in schema:
        out["$ref"] = reference(schema["$ref"], name)
    if "properties" in schema:
        out["properties"] = {
            key: plain(value, name)
            for key, value in schema["properties"].items()
            if not key.startswith("$")
        }
    for key in ("items", "additionalProperties"):
        if key in schema:
            out[key] = plain(schema[key], name)
    choices = schema.get("anyOf", schema.get("oneOf"))
    if choices:
        choices = [plain(it, name) for it in choices]
        if all(set(it) & {"type", "$ref", "enum", "properties", "anyOf"} for it in choices):
            outer = {key: it for key, it in out.items() if key != "type"}
            out = {"anyOf": [{**outer, **it} for it in choices]}
            if "type" in schema:
                out["anyOf"] = [{"type": schema["type"], **it} if "$ref" not in it else it
                                for it in out["anyOf"]]  # fmt: skip
    return out


def main():
    """Prints the schema."""
    load("profile.schema.json")
    whole = DEFINITIONS.pop("profile")
    for key, value in whole["properties"].items():
        if set(value) == {"$ref"}:
            whole["properties"][key] = DEFINITIONS[value["$ref"].rsplit("/", 1)[1]]
    properties = whole.pop("properties")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What Agama's profile.schema.json has of keys, types and places",
        # `agama config load` refuses a profile that its schema does not allow.
        "closed": ["*"],
        **whole,
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    for name, parts in (("properties", properties), ("$defs", DEFINITIONS)):
        rows = [f"    {json.dumps(key)}: {json.dumps(it)}" for key, it in sorted(parts.items())]
        lines.append(f'  "{name}": {{\n' + ",\n".join(rows) + "\n  }")
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
