"""The Penn Treebank tokenisation under the published caption scores, without Java.

coco-caption scores what Stanford CoreNLP 3.4.1 prints for `PTBTokenizer -preserveLines -lowerCase`, minus a list of
punctuation tokens. This lexer was written against that program's output, not from its source; how often it agrees is
tested on tests/fixtures/ptb_reference.json.gz and, where Java is installed, live.

Quirks of the original that change scores, and are therefore kept:

* brackets arrive in lower case (`-lrb-`), so the punctuation list, which is in upper case, does not drop them;
* `£` becomes `#`, `€` becomes `$`, `¢` becomes `cents`;
* `cannot` is two words, and so are `gonna`, `gotta`, `gimme`, `lemme`, `wanna`, `'tis`, `'twas`;
* a full stop stays with an abbreviation (`etc.`, `u.s.`, `no. 5`) and inside `talking.The`, which is one token;
* a mixed number (`1 1/2`) and a telephone number hold a no-break space: one token for ROUGE-L, two for BLEU and CIDEr;
* characters beyond the Basic Multilingual Plane (emoji) vanish.

Not kept, because a caption's tokens then depend on its neighbours: a carriage return, a form feed or a Unicode line
separator inside a caption shifts every later line of the original's output (here it is a space), and a caption that
ends in a single letter with a full stop loses the stop if the next caption begins with `The`, `A` and the like.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])

# Abbreviations keep their full stop. Found by asking the original about every word of at most five letters.
_TITLES = """
adj adm adv alex asst atty attys ave bldg blvd brig capt cf cie cmdr col comdr cpl dept det dr drs elec ens ft gen gov
govs hon insp invt jos lieut lt maj messrs mfg mlle mme mr mrs ms msgr mt mtg natl pfc ph ppte pptes ppty pptys pres
prof profs prop ptes ptys pvt rep reps rev sen sens sfc sgt spc st ste supt supts treas univ vs wm
"""
_SENTENCE_FINAL = """
al ala apr ariz assn assoc aug bhd bros calif co colo conn corp cos ct dak dec esq est etc ext feb fla fri ga inc ind
intl jan jr jul jun kan kans ky ltd mar md mich minn mo mon mont neb nev nov oct okla penn plc pte pty rd rt sep sept
seq sq sr sys tel tenn thu thurs tue tues va vt wed wis wisc wyo
"""
_CAPITALISED = "Ark Az Del Ill La Mass Miss Ore Pa Tex Wash"  # words of their own in lower case
_BEFORE_NUMBER = "art ca fig figs no nos op pp"
_EXTENSIONS = """
bat bmp c cgi cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl png ppt ps py sql tar txt wav
x xml zip
"""
_SENTENCE_STARTERS = """
A About According Additionally After An As At But Earlier He Her Here However If In It Last Many More Now Once One Other
Our She Since So Some Such That The Their Then There These They This We What When While Yet You
"""


def _either_case(words: str) -> str:
    """An alternation of the words in lower, Title and UPPER case, longest first."""
    forms = {form for word in words.split() for form in (word, word.title(), word.upper())}
    return "|".join(sorted(forms, key=lambda form: (-len(form), form)))


_STARTER_FORMS = "|".join(form for word in _SENTENCE_STARTERS.split() for form in (word, word.upper()))
_CAPITAL_FORMS = "|".join(form for word in _CAPITALISED.split() for form in (word, word.upper()))

_MARKS = r"\u0300-\u036f\u064b-\u065f\u0900-\u0963\u0e31-\u0e4e"  # combining marks belong to their word
_NUMERIC = r"\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u209f\u2150-\u218f\u2460-\u24ff"  # \w to Python, symbols here
_L = rf"(?:[^\W\d_{_NUMERIC}]|[{_MARKS}])"  # a letter of any script
_A = rf"(?:[^\W_{_NUMERIC}]|[{_MARKS}])"  # a letter or digit
_WORD = rf"{_L}{_A}*(?:[.!?]{_L}{_A}*)*"
_ACRONYM = rf"{_L}(?:\.{_L})+"
_PART = "[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
_TAG_NAME = r"[A-Za-z][\w:.-]*"
_URL_END = r"[^\s\"<>|.!?(){},-]"
_HOST = r"[^\s\"`'|!(){},-_$]"

# (first character, signs of which the text must hold one, token, what must follow it): the longest match of the last
# two wins, of equally long ones the first. The first two only spare trying: a rule never matches without them.
_RULES = [
    # two words in one
    ("[cC]", "", r"(?i:can)", rf"(?i:not)(?!{_A})"),
    ("[gGwW]", "", r"(?i:gon|wan)", rf"(?i:na)(?!{_A})"),
    ("[gG]", "", r"(?i:got)", rf"(?i:ta)(?!{_A})"),
    ("[gGlL]", "", r"(?i:lem|gim)", rf"(?i:me)(?!{_A})"),
    ("'", "", r"'(?i:t)", "(?i:is|was)"),
    # apostrophes: what splits off, what belongs to its word; the typographic one takes less care of what follows
    ("[A-Za-z]", "'’`", r"[A-Za-z]+?", r"(?i:n['’`]t)"),
    ("[nN]", "'’`", r"(?i:n['’`]t)", ""),
    ("['’]", "", r"(?i:'(?:s|m|d|re|ve|ll|n|em|till?|cause)(?![a-z])|’(?:s|m|d|re|ve|ll|n|em|till?|cause))", ""),
    (_L, "'’", _WORD, "(?i:'(?:s|m|d|re|ve|ll)(?![a-z])|’(?:s|m|d|re|ve|ll))"),
    ("['’`]", "", r"'[1-9]0[Ss]|''|``|'[Nn]'|’[Nn]’|’\d\d[Ss]", ""),
    ("['’]", "", r"['’]\d\d", r"(?=\s)"),
    ("[A-Za-z]", "'’", rf"[A-HJ-XZdlno]['’][A-Za-z]{{2,}}|[A-Za-z]+[AEIOUYaeiouy]['’][aeiouA-Z]{_L}*", ""),
    ("[cdejlnoCDEJLNO]", "'’", r"(?i:li'l|nat'l|ev'ry|e'er|c'mon|(?:[djl]|ol)['’])", ""),
    ("[Yy]", "'’", r"[Yy]['’]", _L),
    (_L, "", _WORD, ""),
    # full stops that stay
    (_L, ".", rf"{_WORD}\.", "[,;:]"),
    ("[A-Za-z]", ".", rf"(?:{_either_case(_TITLES)})\.", ""),
    (
        "[A-Za-z]",
        ".",
        rf"(?:(?i:ph\.d|ed\.d)|{_either_case(_SENTENCE_FINAL)}|{_CAPITAL_FORMS})\.",
        r"(?s:.{0,2})",
    ),
    ("[A-Za-z]", ".", rf"(?:{_either_case(_BEFORE_NUMBER)})\.", r"\s?\d"),
    (_L, ".", rf"{_ACRONYM}\.?", ""),
    (_L, ".", rf"{_L}\.", rf"(?!\s+(?:{_STARTER_FORMS})(?!\S))"),
    # compounds
    (r"\d", "", rf"\d+{_L}{_A}*", ""),
    (_A, "-_\u2010\u2011", rf"{_A}+(?:[-_\u2010\u2011]{_A}+)+", ""),
    (_A, ".", rf"{_A}+(?:\.{_A}+)*\.(?:{_either_case(_EXTENSIONS)})", r"[\s.,?!]"),
    (_A, "-", rf"{_A}(?:{_A}|[.,])*(?:-(?:{_ACRONYM}\.|{_A}+))+", ""),
    ("[A-Za-z]", "+&#", r"[A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+|[Cc]\+\+|[CcFf]#", ""),
    ("[A-Za-z0-9]", "/", rf"{_PART}(?:\\?/{_PART}){{1,2}}", ""),
    # numbers, dates, fractions, telephone numbers
    (r"[+\-.:,\d]", "", r"[+-]?(?:\d+|[.:,]\d+)(?:[.:,]\d+)*", ""),
    (r"\d", "-/", r"\d{1,2}[-/]\d{1,2}[-/]\d{2,4}|\d{4}[-/]\d{1,2}[-/]\d{1,2}", ""),
    (r"\d", "/", r"(?:\d{1,4}[- ])?\d{1,4}/\d{1,4}", ""),
    (r"[(+\d]", "", r"(?:\(\d{2,3}\) ?|\+{0,2}(?:\d{2,4}[- ])?\d{2,4}[- ])\d{3,4}[- ]?\d{3,5}", ""),
    (r"\d", ".", r"(?:\d{2,4}\.)?\d{2,4}\.\d{3,4}\.\d{3,5}", ""),
    # addresses and markup
    ("h", ":", rf"https?://[^\s\"<>|()]*{_URL_END}", ""),
    ("w", ".", rf"www\.(?:[^\s\"<>|.!?(){{}},]+\.)*[a-zA-Z]{{2,4}}(?:/[^\s\"<>|()]+{_URL_END})?", ""),
    (_HOST, ".", rf"(?:{_HOST}+\.)+(?:com|net|org|edu)(?:/[^\s\"<>|()]+{_URL_END})?", ""),
    ("[<A-Za-z0-9]", "@", r"<?[A-Za-z0-9][^\s\"<>|()]*@(?:[^\s\"<>|().]+\.)*[^\s\"<>|().]+>?", ""),
    ("[@#]", "", rf"@[A-Za-z_][A-Za-z_0-9]*|#{_L}+", ""),
    ("<", "", rf"<{_TAG_NAME}(?:\s+{_TAG_NAME}(?:=(?:\"[^\"<>]*\"|'[^'<>]*'))?)*\s*/?>", ""),
    ("<", "", rf"</{_TAG_NAME}>|<[!?][A-Za-z-][^>]*>", ""),
    ("&", "", r"(?i:&(?:amp|lt|gt|quot|apos|[mn]dash);)|&#\d+;|&(?i:[aeiou](?:acute|grave|uml));", ""),
    # faces and runs of one sign
    ("[<>:;=]", "", r"[<>]?[:;=][-o*']?[()DPOdp@|\[\]{\\]", r"(?![A-Za-z0-9])"),
    (r"[\^>\-']", "_", r"\^_\^|>_<|-_-|'_'", ""),
    (r"\.", "", r"\.(?:\s?\.){2}\.*", ""),
    ("[A-Z$]", "$", r"[A-Z]*\$", ""),
    (r"[?!\-_*\\#<>@]", "", r"[?!]+|-+|_+|\*+|\\\*|#+|<<|>>|@+", ""),
]
_COMPILED = [
    (re.compile(first), frozenset(needs), re.compile(f"({token}){ahead}")) for first, needs, token, ahead in _RULES
]
_SIGNS = frozenset().union(*(needs for _, needs, _ in _COMPILED))


@lru_cache(maxsize=1 << 13)
def _patterns(character: str, signs: frozenset[str]) -> tuple[re.Pattern[str], ...]:
    """The rules, in their order, that may match at this character of a text with these signs in it."""
    return tuple(
        pattern
        for first, needs, pattern in _COMPILED
        if first.match(character) and (not needs or not signs.isdisjoint(needs))
    )


# Words between spaces need no rule, unless they are of those that split.
_SPLIT = "cannot|gonna|wanna|gotta|lemme|gimme"
_PLAIN = re.compile(rf"(?:\s*(?!(?i:{_SPLIT})(?![A-Za-z]))[A-Za-z]+(?=[,;!?]*(?:\s|$)))+")
# Of what begins with a letter, no rule looks past the next space, unless a full stop comes before it.
_CHUNK = re.compile(rf"(?={_L})[^\s.]{{1,40}}+(?=\s)")  # longer ones are rare, and not worth keeping

_SPELLING = str.maketrans({
    "\u2018": "`", "\u201b": "'", "\u0091": "`", "\u0092": "\u2019", "\u2039": "`", "\u203a": "'",
    "\u201c": '"', "\u201d": '"', "\u0093": '"', "\u0094": '"', "\u00ab": '"', "\u00bb": '"',
    "\u2013": " -- ", "\u2014": " -- ", "\u2015": " -- ", "\u0096": " -- ", "\u0097": " -- ",
    "\u2026": " ... ", "\u0085": " ... ", "\u00ad": "", "\u0080": "\u20ac",
})  # fmt: skip
_TOKEN_SPELLING = {
    '"': "''", "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": "''", "&apos;": "'", "&mdash;": "--", "&ndash;": "--",
    "\u00a3": "#", "\u20ac": "$", "\u20a0": "$", "\u00a4": "$", "\u00a2": "cents", "\u00bd": "1/2", "\u00bc": "1/4",
    "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3", "---": "--", "----": "--",
    "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-",
}  # fmt: skip
_CLITIC = re.compile("’|n’t|’(?:s|m|d|re|ve|ll)")
_BRACKETS = str.maketrans({"(": "-lrb-", ")": "-rrb-", " ": "\u00a0"})
_SPACE = str.maketrans(" ", "\u00a0")
_KEPT_SYMBOL = re.compile(
    "[\u2016\u2017\u201a\u201e-\u2023\u2030-\u2038\u203b\u203e-\u2042\u2044\u2070\u2074-\u207e\u2080-\u208e\u20a0\u20a4"
    "\u20ac\u2100-\u214f\u2153-\u215e\u2190-\u2bff\u3001\u3002\u3012\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40"
    "\uff5b-\uff65\uffe0\uffe1\uffe5\uffe6]"
)


def tokenize(caption: str) -> str:
    """The caption's tokens joined by single spaces, in lower case, punctuation dropped; possibly empty.

    Equal to coco-caption's `PTBTokenizer.tokenize` of the same caption (see the module's docstring).
    """
    return " ".join(token for token in tokens(caption) if token not in PUNCTUATION)


def tokens(caption: str) -> Iterator[str]:
    """All tokens of one caption in lower case, punctuation included."""
    text = caption.translate(_SPELLING).replace("&nbsp;", " ") + "\n"
    signs = _SIGNS & frozenset(text)
    position, end = 0, len(text)  # the line break counts as what follows the last token
    while position < end:
        if plain := _PLAIN.match(text, position):
            yield from plain[0].lower().split()
            position = plain.end()
        elif text[position].isspace():
            position += 1
        else:
            chunk = _CHUNK.match(text, position)
            token = _begin(chunk[0]) if chunk else _longest(text, position, signs)
            position += len(token)
            if written := _written(token):
                yield written


@lru_cache(maxsize=1 << 13)
def _begin(chunk: str) -> str:
    """The first token of what lies between spaces."""
    return _longest(chunk + "\n", 0, _SIGNS & frozenset(chunk))


def _longest(text: str, position: int, signs: frozenset[str]) -> str:
    """The token of the rule that matches furthest from `position`; a single character where none matches."""
    token, reach = text[position], position
    for pattern in _patterns(token, signs):
        match = pattern.match(text, position)
        if match and match.end() > reach:
            token, reach = match[1], match.end()
    return token


@lru_cache(maxsize=1 << 13)
def _written(token: str) -> str | None:
    """As the original prints it; None for what it drops."""
    return _normalise(token) if _is_tokenisable(token) else None


def _is_tokenisable(token: str) -> bool:
    """False for what the original drops: emoji, control characters and most symbols newer than itself."""
    if len(token) > 1:
        return True
    if token < "\u2000":
        return unicodedata.category(token) not in ("Cc", "Cf", "Cs", "Co", "Cn")
    return "\uffff" >= token and (token.isalpha() or token.isdecimal() or _KEPT_SYMBOL.match(token) is not None)


def _normalise(token: str) -> str:
    lowered = token.lower()
    if lowered in _TOKEN_SPELLING:
        return _TOKEN_SPELLING[lowered]
    if _CLITIC.fullmatch(lowered):
        return lowered.replace("’", "'")
    if lowered.startswith(".") and lowered.count(".") > 2:
        return "..."
    return lowered.translate(_SPACE if lowered[-1] == ">" else _BRACKETS).replace("&amp;", "&")
