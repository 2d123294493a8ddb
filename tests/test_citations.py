"""Sections of OSLSM that code and documents cite exist, and are about what they are cited for."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = [
    path
    for folder in ("fss_jax", "data_builders", "benchmarks", "tests", "docs")
    for pattern in ("*.py", "p*s.md")
    for path in (ROOT / folder).rglob(pattern)
    if "results" not in path.parts
]
CITED = re.compile(r"OSLSM (\d(?:\.\d)?)(?![\d.]*[-\d])")
ABOUT = {  # words of the things that a section is cited for -> where the paper has them
    r"\b[Hh]ash": {"4.1"},
    r"1-NN|[Ll]ogistic regression|SVM|[Ss]iamese|[Ff]ine-tuning|[Bb]ase network": {"6", "7", "7.1"},
    r"Figure 3|AlexNet": {"7.1"},
    r"dilated": {"7"},
}


def citations():
    for path in FILES:
        for line in path.read_text().splitlines():
            for section in CITED.findall(line):
                yield f"{path.relative_to(ROOT)}: {line.strip()}", section


def test_cited_sections_of_oslsm_are_those_of_the_paper():
    sentence = next(
        line
        for line in (ROOT / "docs/protocols.md").read_text().splitlines()
        if line.startswith("OSLSM's sections: ")
    )
    known = set(re.findall(r"\b\d(?:\.\d)?\b", sentence)) | {"4"}
    assert {"4.1", "4.4", "6", "7.1"} <= known
    found = list(citations())
    assert len(found) > 20
    assert [where for where, section in found if section not in known] == []


def test_a_section_is_cited_for_what_it_is_about():
    wrong = [
        where
        for where, section in citations()
        for words, sections in ABOUT.items()
        if re.search(words, where.partition(": ")[2]) and section not in sections
    ]
    assert wrong == []
