#!/usr/bin/env python3
"""Makes data/answer/autoyast.json of YaST's own schema.

    generate_autoyast.py PROFILE.rng [RNC-FOLDER…] > data/answer/autoyast.json

PROFILE.rng is the schema in RELAX NG's simple form: `jing -c -s profile.rnc`, where
profile.rnc is what yast2-schema's scripts/collect.sh puts together. Taken from it is
which elements an element has, of what type each is, and what it may hold. Left out is
how often and in which order: what is wrong by that, YaST reads nevertheless.

From the folders come the names of elements in the schemas of other releases, so that
a profile for one of these is not told that it is wrong.
"""

import json
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

RNG = "{http://relaxng.org/ns/structure/1.0}"
TYPE = ("t", "type")


def tag(node):
    """A node's name without its namespace."""
    return node.tag.removeprefix(RNG)


def names_of(node):
    """The names that a name class allows, and whether it is any."""
    if node.get("name"):
        return [node.get("name").split(":")[-1]], False
    found, is_any = [], False
    for child in node:
        if tag(child) == "name":
            found.append(child.text.strip().split(":")[-1])
        elif tag(child) in ("anyName", "nsName"):
            is_any = True
        elif tag(child) == "choice" and all(tag(it) in ("name", "choice") for it in child):
            for name in child.iter(f"{RNG}name"):
                found.append(name.text.strip().split(":")[-1])
    return found, is_any


class Element:
    """What one definition allows."""

    def __init__(self, element):
        self.names, self.is_any_name = names_of(element)
        self.children, self.types, self.values = [], set(), set()
        self.has_text = self.has_integer = False
        for child in element:
            if tag(child) not in ("name", "anyName", "nsName"):
                self.read(child)
        self.needs_type = any(self.demands_type(it) for it in element)
        self.needs = set().union(*(self.demanded(it) for it in element))

    def read(self, node):
        """Gathers what may be there."""
        kind = tag(node)
        if kind == "attribute":
            names, _ = names_of(node)
            if set(names) & set(TYPE):
                self.types |= {it.text for it in node.iter(f"{RNG}value")}
        elif kind == "ref":
            self.children.append(node.get("name"))
        elif kind == "text":
            self.has_text = True
        elif kind == "data":
            self.has_integer |= node.get("type") in ("integer", "positiveInteger")
            self.has_text |= node.get("type") not in ("integer", "positiveInteger")
        elif kind == "value":
            self.values.add((node.text or "").strip())
        else:
            for child in node:
                self.read(child)

    def demands_type(self, node):
        """Whether there is nothing without a type."""
        kind = tag(node)
        if kind == "attribute":
            return bool(set(names_of(node)[0]) & set(TYPE))
        if kind == "choice":
            return all(self.demands_type(it) for it in node)
        if kind in ("group", "interleave", "oneOrMore"):
            return any(self.demands_type(it) for it in node)
        return False

    def demanded(self, node):
        """The definitions one of which has to be there."""
        kind = tag(node)
        if kind == "ref":
            return {(node.get("name"),)}
        if kind == "choice":
            if any(not self.demanded(it) for it in node):
                return set()
            return {tuple(sorted({ref for it in node for one in self.demanded(it) for ref in one}))}
        if kind in ("group", "interleave", "oneOrMore"):
            return set().union(*(self.demanded(it) for it in node))
        return set()


def read(path):
    """The definitions, and the names of those that a profile starts with."""
    root = ElementTree.parse(path).getroot()
    found = {}
    for define in root.iter(f"{RNG}define"):
        element = define.find(f"{RNG}element")
        if element is not None:
            found[define.get("name")] = Element(element)
    start = [it.get("name") for it in root.find(f"{RNG}start").iter(f"{RNG}ref")]
    return found, start


def shape(one, index, found):
    """An element as data."""
    out = {"name": one.names}
    children = sorted({index[it] for it in one.children if not found[it].is_any_name})
    if any(found[it].is_any_name for it in one.children):
        out["open"] = True
    if children:
        out["children"] = children
    if one.types:
        out["types"] = sorted(one.types)
    if one.needs_type:
        out["typed"] = True
    if one.has_text:
        out["content"] = "text"
    elif one.has_integer:
        out["content"] = "integer"
    elif one.values:
        out["values"] = sorted(one.values)
    needs = set()
    for group in one.needs:
        if not any(found[it].is_any_name for it in group):
            needs.add(tuple(sorted({name for it in group for name in found[it].names})))
    if needs:
        out["needs"] = sorted(needs)
    return out


def merged(found, start):
    """Definitions that say the same are one. Returns them, and the first's number."""
    order = [it for it in found if not found[it].is_any_name]
    index = {it: at for at, it in enumerate(order)}
    for name, one in found.items():
        if one.is_any_name:
            index[name] = -1
    while True:
        seen, again = {}, dict(index)
        for name in order:
            text = json.dumps(shape(found[name], index, found), sort_keys=True)
            again[name] = seen.setdefault(text, index[name])
        if again == index:
            break
        index = again
    kept = sorted({index[it] for it in order})
    number = {old: new for new, old in enumerate(kept)}
    elements = []
    for old in kept:
        out = shape(found[order[old]], index, found)
        if "children" in out:
            out["children"] = [number[it] for it in out["children"]]
        elements.append(out)
    return elements, number[index[start[0]]]


def main():
    """Prints the data."""
    found, start = read(sys.argv[1])
    elements, first = merged(found, start)
    known = {name for it in elements for name in it["name"]}
    other = set()
    for folder in sys.argv[2:]:
        for path in pathlib.Path(folder).rglob("*.rnc*"):
            text = re.sub(r"#.*", "", path.read_text(encoding="utf-8", errors="replace"))
            for names in re.findall(r"\belement\s+(\(.*?\)|[\w-]+)", text, re.S):
                other |= set(re.findall(r"[\w-]+", names))
    rows = ",\n    ".join(json.dumps(it, separators=(",", ":")) for it in elements)
    old = json.dumps(sorted(other - known))
    print(f'{{\n  "first": {first},\n  "elements": [\n    {rows}\n  ],\n  "other": {old}\n}}')


if __name__ == "__main__":
    main()
