"""Set the address of the repository everywhere it appears.

The rule: `_config.yml` holds the address; the setup cells of chapters and assignments install from
that address, the README shows badges for it and CITATION.cff names it, and they change only by this
script. The site derives its own address from it when it is built. Until the book has a public
address, a placeholder that can never resolve stands in, and then nothing else shows one.

usage: python tools/repository.py https://github.com/OWNER/NAME
       python tools/repository.py            (prints the address)
"""

import re
import sys
from pathlib import Path

PLACEHOLDER = "https://repository.invalid/owner/book"
ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9-]+)/([A-Za-z0-9._-]+)")
CITED = re.compile(r"^(?:repository-code|url): .*\n", re.MULTILINE)
PLACES = ("chapters/*", "assignments/*", "coursework/*/master.py")
BADGES = re.compile(r"(<!-- badges -->\n).*?(<!-- /badges -->)", re.DOTALL)


def current(root):
    """Return the address that `_config.yml` holds."""
    config = (root / "_config.yml").read_text(encoding="utf-8")
    [address] = re.findall(r"^repository:\n  url: (\S+)$", config, re.MULTILINE)
    return address


def site_address(repository):
    """Return where GitHub Pages shows a repository's site; nothing for the placeholder."""
    match = ADDRESS.fullmatch(repository)
    if match is None:
        return ""
    host, name = f"{match[1].lower()}.github.io", match[2]
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"


def badges(root, address):
    """Return the README's badges, a line per chapter; none for the placeholder."""
    if address == PLACEHOLDER:
        return ""
    toc = (root / "_toc.yml").read_text(encoding="utf-8")
    notebooks = address.replace("https://github.com/", "https://colab.research.google.com/github/")
    image = "https://colab.research.google.com/assets/colab-badge.svg"
    return "".join(
        f"[![Open {chapter} in Colab]({image})]({notebooks}/blob/main/{chapter}.ipynb)\n"
        for chapter in re.findall(r"file: (chapters/\w+)", toc)
    )


def cite(root, address):
    """Write where the book stands into CITATION.cff; nothing for the placeholder."""
    path = root / "CITATION.cff"
    site = site_address(address)
    lines = f"repository-code: {address}\nurl: {site}\n" if site else ""
    path.write_text(CITED.sub("", path.read_text(encoding="utf-8")) + lines, encoding="utf-8")


def set_address(root, address):
    """Replace the address in every file that holds it, and write the badges anew."""
    if address != PLACEHOLDER and not ADDRESS.fullmatch(address.removesuffix(".git")):
        raise ValueError(
            f"expected https://github.com/OWNER/NAME (Colab opens no others), got {address!r}"
        )
    address = address.removesuffix(".git")
    old = current(root)
    notebooks = [path for place in PLACES for path in sorted(root.glob(place))]
    for path in [root / "_config.yml", root / "README.md", *notebooks]:
        if path.suffix in {".yml", ".md", ".py", ".ipynb"}:
            text = path.read_text(encoding="utf-8")
            changed = re.sub(re.escape(old) + r"(?![\w.-])", address, text)
            if path.name == "README.md":
                changed = BADGES.sub(rf"\g<1>{badges(root, address)}\g<2>", changed)
            if changed != text:
                path.write_text(changed, encoding="utf-8")
    cite(root, address)
    print(f"the repository's address is now {address}")


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1]
    if len(sys.argv) == 1:
        print(current(here))
    else:
        try:
            set_address(here, sys.argv[1])
        except ValueError as error:
            sys.exit(str(error))
