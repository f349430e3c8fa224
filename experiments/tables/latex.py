"""LaTeX of tables; every value is escaped."""

from collections.abc import Sequence

from experiments.tables.text import DASH, one_line

LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    "†": r"$\dagger$", DASH: "--", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def latex_rows(title: str, notes: Sequence[str], header: Sequence[str],
               blocks: Sequence[Sequence[Sequence[str]]]) -> str:
    """A table environment that needs no packages: the lines of `blocks`, a rule after each block."""
    texts = [[" & ".join(map(escape_latex, line)) + r" \\" for line in block] for block in blocks]
    lines = [line for *first, last in texts for line in (*first, rf"{last} \hline")]
    top = " & ".join(map(escape_latex, header)) + r" \\ \hline"
    caption = escape_latex(". ".join([title, *notes]) + ".")
    begin = rf"\begin{{tabular}}{{{'l' * len(header)}}} \hline"
    body = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", begin, top, *lines]
    return "\n".join([*body, r"\end{tabular}", r"\end{table}", ""])


def escape_latex(text: str) -> str:
    """`text` as LaTeX prints it."""
    return "".join(LATEX.get(character, character) for character in one_line(text))
