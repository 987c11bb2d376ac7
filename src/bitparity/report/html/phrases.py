"""Words of report.html alone, in English and Chinese; all others are those of `bitparity.report.language`."""

from __future__ import annotations

from bitparity.report.language import LANGUAGES, TEXTS, Lang, load_words, text

PHRASES = load_words("html/phrases.toml")  # key -> (English, Chinese)
SCRIPT_KEYS = tuple(PHRASES)[tuple(PHRASES).index("browser") :]


def say(key: str, lang: Lang, **figures: object) -> str:
    """The page's words under a key, filled in. Raises KeyError where it is unknown."""
    if key in PHRASES:
        return PHRASES[key][LANGUAGES.index(lang)].format(**figures)
    return text(key, lang, **figures)


def script_phrases(lang: Lang) -> dict[str, str]:
    """The unfilled phrases of the flip browser, which fills them itself."""
    place = LANGUAGES.index(lang)
    own = (*SCRIPT_KEYS, "lost", "gained", "cut_off", "no_answer", "unscored")
    shared = ("benchmark", "candidate", "subgroup", "baseline", "control", "none")
    return {key: PHRASES[key][place] for key in own} | {key: TEXTS[key][place] for key in shared}
