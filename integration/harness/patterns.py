"""Texts that fit the patterns of AWS's service models: made by chance, the same in every run, and checked."""

import functools
import random
import re
import string

try:
    from re import _constants as op, _parser as parser
except ImportError:  # Python 3.10
    import sre_constants as op
    import sre_parse as parser

TRIES = 60
REGION, ACCOUNT = "us-west-2", "123456789012"
# What Java's patterns know and Python's do not. Controls stand for all that is not visible (\p{C}).
JAVA_CLASSES = {r"\p{L}": "a-zA-Z", r"\p{M}": "", r"\p{N}": "0-9", r"\p{Z}": " ", r"\p{C}": r"\x00-\x1f"}
# What stands for "any character": also what must be encoded in a path or query. No backslash: a gateway refuses it.
ANY = string.ascii_letters + string.digits + "-_.~ :/+=,@()"
PLAIN = set(string.ascii_letters + string.digits)
# How often a set that also has letters or digits gives one of its other characters.
ODD_CHARACTERS = 0.1


@functools.cache
def text_for(pattern: str, shortest: int, longest: int) -> str:
    """A text of that pattern and length: an ARN with slashes where the pattern has one, else the most telling found."""
    python = as_python(pattern)
    tree, fits = parser.parse(python), re.compile(python)
    chance = random.Random(pattern)
    found = set()
    for attempt in range(TRIES):
        text = Maker(chance, shortest if attempt % 2 else 0).make(tree)
        text = plausible(text) if fits.fullmatch(plausible(text)) else text
        if shortest <= len(text) <= longest and text == text.strip(" .") and fits.fullmatch(text):
            found.add(text)
    assert found, f"no text was found for {pattern!r} of {shortest} to {longest} characters"
    return max(sorted(found), key=lambda text: (text.startswith("arn:") and "/" in text, "/" in text, -len(text)))


def plausible(text: str) -> str:
    """An ARN in the tests' partition, region and account."""
    parts = text.split(":", 5)
    if len(parts) < 6 or parts[0] != "arn":
        return text
    region, account = parts[3] and REGION, parts[4] and ACCOUNT
    return ":".join(["arn", "aws", parts[2], region, account, parts[5]])


def as_python(pattern: str) -> str:
    """The pattern in Python's words."""
    pattern = pattern.replace(r"[^\p{C}]", r"[^\x00-\x1f]").replace(r"\P{C}", r"[^\x00-\x1f]")
    for java, python in JAVA_CLASSES.items():
        pattern = pattern.replace(java, python)
    return pattern


class Maker:
    """Walks through a parsed pattern and writes a text that should fit; look-aheads are left to the check."""

    def __init__(self, chance: random.Random, stretch: int):
        # `stretch`: how often the outermost repetitions repeat at least; those inside of them repeat seldom.
        self.chance, self.stretch, self.depth = chance, stretch, 0

    def make(self, tree) -> str:
        return "".join(self.part(code, value) for code, value in tree)

    def part(self, code, value) -> str:
        if code is op.LITERAL:
            return chr(value)
        if code in (op.ANY, op.NOT_LITERAL):
            return self.one_of([c for c in ANY if c != (chr(value) if code is op.NOT_LITERAL else None)])
        if code is op.IN:
            return self.one_of(characters(value))
        if code is op.BRANCH:
            return self.make(self.chance.choice(value[1]))
        if code is op.SUBPATTERN:
            return self.make(value[-1])
        if code in (op.MAX_REPEAT, op.MIN_REPEAT):
            least, most, what = value
            wanted = max(least + self.chance.choice((0, 1, 1, 2)), 0 if self.depth else self.stretch)
            self.depth += 1
            made = "".join(self.make(what) for _ in range(min(wanted, most)))
            self.depth -= 1
            return made
        assert code in (op.AT, op.ASSERT, op.ASSERT_NOT), f"a pattern with {code} needs a rule"
        return ""

    def one_of(self, allowed: list[str]) -> str:
        plain = [character for character in allowed if character in PLAIN]
        is_odd = self.chance.random() < ODD_CHARACTERS
        return self.chance.choice(allowed if is_odd or not plain else plain)


def characters(members: list) -> list[str]:
    """The printable ASCII characters of a set."""
    if members[0][0] is op.NEGATE:
        refused = set(characters(members[1:]))
        return [character for character in ANY if character not in refused]
    found: list[str] = []
    for code, value in members:
        if code is op.LITERAL:
            found.append(chr(value))
        elif code is op.RANGE:
            found.extend(map(chr, range(value[0], min(value[1], 0x7E) + 1)))
        else:
            assert code is op.CATEGORY, f"a set with {code} needs a rule"
            found.extend(CATEGORIES[value])
    return [character for character in found if character != "\\"]


CATEGORIES = {
    op.CATEGORY_DIGIT: string.digits,
    op.CATEGORY_WORD: string.ascii_letters + string.digits + "_",
    op.CATEGORY_SPACE: " ",
    op.CATEGORY_NOT_SPACE: ANY.replace(" ", ""),
    op.CATEGORY_NOT_DIGIT: string.ascii_letters,
}
