"""Which characters each kind of text may hold, and how it is put together: ARNs, images, tags.

A rule is written once, here. The fast path matches against it, the diagnosis names the character that breaks it, and
the JSON Schema takes its pattern.
"""

from __future__ import annotations

import re


class TextRule:
    """What a string may hold, beyond its length.

    Args:
        pattern: the whole text must match it. It runs on hostile text: there must be only one way to match any text,
            or a long one would make it backtrack for ever.
        says: the rule in words: "must be …, such as …".
        forbidden: matches one character that is never allowed, so that a message can point at it.
    """

    __slots__ = ("fits", "forbidden", "pattern", "says")

    def __init__(self, pattern: str, says: str, forbidden: str = "") -> None:
        self.pattern = pattern
        self.fits = re.compile(pattern).fullmatch
        self.says = says
        self.forbidden = re.compile(forbidden or r"(?!)")


# The service accepts one control character everywhere, the tab. A byte-order mark inside a value is invisible and never
# intended, so it is refused everywhere.
_C0 = r"\u0000-\u0008\u000a-\u001f"
_BYTE_ORDER_MARK = r"\ufeff"
_NOT_IN_NAMES = rf"[{_C0}{_BYTE_ORDER_MARK}\ufffe\uffff]"
_NOT_IN_PROSE = r"[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufeff\ufffe\uffff]"
_NOT_IN_LINES = rf"[{_C0}\u0085\u2028\u2029{_BYTE_ORDER_MARK}]"
"""The service is written in Java, where the ``.`` of the model's patterns excludes these line terminators."""
_LINE = f"[^{_NOT_IN_LINES[1:]}"

NAME = TextRule(
    # In Java, \s is ASCII only and $ also matches before one final line terminator; the surrogates in the model's
    # character class stand for all characters beyond U+FFFF.
    rf"(?![ \t]*[\u0085\u2028\u2029]?$)[^{_NOT_IN_NAMES[1:]}*",
    "must not be blank",
    _NOT_IN_NAMES,
)
DESCRIPTION = TextRule(f"[^{_NOT_IN_PROSE[1:]}*", "may contain any text", _NOT_IN_PROSE)
ONE_LINE = TextRule(f"{_LINE}*", "must be one line of text", _NOT_IN_LINES)
ROLE = TextRule(
    rf"arn:aws[-a-z]*:iam::[0-9]{{12}}:role/{_LINE}+",
    "must be the ARN of an IAM role, such as arn:aws:iam::123456789012:role/access",
    _NOT_IN_LINES,
)
KMS_KEY = TextRule(
    rf"arn:aws[-a-z]*:kms:[-a-z0-9]+:[0-9]{{12}}:key/{_LINE}+",
    "must be the ARN of a KMS key, such as arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    _NOT_IN_LINES,
)
IMAGE = TextRule(
    # The look-ahead tells a registry from the first part of a path: it has a dot or a port, or is localhost.
    r"(?=[^/]*[.:]|localhost/)[A-Za-z0-9]+(?:[.-]+[A-Za-z0-9]+)*(?::[0-9]{1,5})?"
    r"(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+"
    r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha256:[0-9a-f]{64})?",
    "must be registry/repository, registry/repository:tag or registry/repository@sha256:digest (64 hexadecimal digits),"
    " such as 123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1.0",
    _NOT_IN_LINES,
)
TAG_SAYS = "may only contain letters, digits, spaces and + - = . _ : / @"
_SPACES = r" \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
"""Unicode's space separators (Zs)."""
TAG = TextRule(
    # A third faster than one character class; the possessive quantifiers never backtrack.
    rf"[a-zA-Z0-9 +\-=.:/@_]*+(?:[\w{_SPACES}][a-zA-Z0-9 +\-=.:/@_]*+)*+",
    TAG_SAYS,
    rf"[^\w{_SPACES}+\-=.:/@]",
)
TAG_SCHEMA = r"""[^\u0000-\u001f!"#$%&'()*,;<>?\[\\\]^`{|}~\u007f\ufeff]*"""
"""For JSON Schema, whose dialects disagree about letters beyond ASCII: it refuses the wrong ASCII characters. Editors
read patterns as ECMAScript does in Unicode mode, where only syntax characters may be escaped."""
RESERVED_TAG_PREFIX = "aws:"
"""Tag keys with this prefix, in upper or lower case, belong to AWS; values may begin with it."""
