"""Brings texts into one Unicode form (composed accents), and finds names that look alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def composed(text: str) -> str:
    """Returns the text with its accents composed (NFC): macOS stores names decomposed, most other systems composed."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def all_composed(texts: Sequence[str]) -> Sequence[str]:
    """Composes each text, see `composed`; a million ASCII texts take 20 ms."""
    return texts if all(map(str.isascii, texts)) else [composed(text) for text in texts]


def look(text: str) -> str:
    """Returns how a text looks: equal for texts that differ in case, blanks, widths or look-alike letters."""
    plain = text if text.isascii() and text.isprintable() else _plain(text)
    return " ".join(plain.casefold().split())


def is_disguised(text: str) -> bool:
    """Whether a text looks like an ASCII one but has letters of another alphabet in it."""
    has_latin = any(c.isascii() and c.isalpha() for c in text)
    return has_latin and not text.isascii() and text.translate(_SHAPES).isascii()


# Cyrillic and Greek letters that look like Latin ones.
_SHAPES = str.maketrans(
    "\u0410\u0412\u0415\u0405\u0406\u0408\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425"
    "\u0430\u0435\u0455\u0456\u0458\u043e\u0440\u0441\u0443\u0445"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf",
    "ABESIJKMHOPCTYX" + "aesijopcyx" + "ABEZHIKMNOPTYXo",
)
_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u02bc\u00b4"), "'")


def _plain(text: str) -> str:
    """Returns the text in Latin letters of normal width, with one kind of dash and apostrophe, all visible."""
    kinds = ((c, unicodedata.category(c)) for c in unicodedata.normalize("NFKC", text))
    seen = "".join("-" if kind == "Pd" else c for c, kind in kinds if kind not in ("Cf", "Cc") or c.isspace())
    seen = seen.translate(_APOSTROPHES)
    return seen.translate(_SHAPES) if is_disguised(seen) else seen
