"""LaTeX of tables, for the package booktabs; every value is escaped."""

import re
from collections.abc import Sequence

from experiments.tables.text import DASH, is_numeric, one_line

LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    "†": r"$\dagger$", "φ": r"$\phi$", "Δ": r"$\Delta$", "‖": r"$\Vert$", "ᵀ": r"$^\top$", DASH: "--",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def latex_table(name: str, title: str, notes: Sequence[str], header: Sequence[str], rows: Sequence[Sequence[str]],
                groups: Sequence[int] | None = None) -> str:
    r"""A table environment with the label tab:<name>: numbers to the right, notes below, a space between groups.

    The caption is the title without the paper's own number of the table, which LaTeX counts itself.
    """
    align = "".join("r" if is_numeric([row[i] for row in rows]) else "l" for i in range(len(header)))
    starts = {sum((groups or [])[:n]) for n in range(1, len(groups or []))}
    lines = [("\\addlinespace\n" if i in starts else "") + " & ".join(map(escape_latex, row)) + r" \\"
             for i, row in enumerate(rows)]
    caption = re.sub(r"^(Table|Figure) \d+: *", "", one_line(title))
    caption = caption[:1].upper() + caption[1:]
    below = [r"\par\smallskip\footnotesize " + ". ".join(escape_latex(note) for note in notes) + "."] if notes else []
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\caption{{{escape_latex(caption)}}}", rf"\label{{tab:{name}}}",
        rf"\begin{{tabular}}{{{align}}}", r"\toprule", " & ".join(map(escape_latex, header)) + r" \\", r"\midrule",
        *lines, r"\bottomrule", r"\end{tabular}", *below, r"\end{table}", ""])


def escape_latex(text: str) -> str:
    """`text` as LaTeX prints it."""
    return "".join(LATEX.get(character, character) for character in one_line(text))
