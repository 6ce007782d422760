"""Prompts of text: where what is given ends, and what is to be written begins."""

from __future__ import annotations

from dataclasses import dataclass

import regex

from gan_dist.errors import UnreadableSample
from gan_dist.spec.data import TextData

PROMPT_END = "\0"  # between a prompt and what follows it, in a text as sources hand it on; no text holds it itself
# What ends a piece of text, quotes and brackets that close after it included; where scripts have blanks between words,
# only before one.
_CLOSE = r"[\p{Pe}\p{Pf}\"']*"
_ENDS = {
    "sentence": regex.compile(rf"[.!?\u2026]+{_CLOSE}(?=\s)|[\u3002\uff01\uff1f]+{_CLOSE}"),
    "question": regex.compile(rf"\?+{_CLOSE}(?=\s)|\uff1f+{_CLOSE}"),
    "word": regex.compile(r"\S+(?=\s)"),
    "character": regex.compile(r"\X"),
}
UNITS = tuple(_ENDS)


@dataclass(frozen=True)
class PromptForm:
    """How a text becomes a prompt and what follows it.

    Attributes:
        length: most tokens of a prompt; of longer ones the last are kept, or they are refused.
        count, unit: the first so many sentences, questions, words or characters of a text are its prompt; 0 where
            sources say themselves where prompts end.
    """

    length: int
    count: int = 0
    unit: str = ""

    def parts(self, text: str) -> tuple[str, str]:
        """The prompt and what follows it, without blanks at their ends.

        Example:
            >>> PromptForm(20, 1, "question").parts("Why? Because.")
            ('Why?', 'Because.')

        Raises:
            UnreadableSample: one of them is empty.
        """
        prompt, _, rest = text.partition(PROMPT_END) if not self.count else self._cut(text)
        prompt, rest = prompt.strip(), rest.strip()
        if not prompt:
            raise UnreadableSample("no prompt" if not self.count else f"without {self.beginning}")
        if not rest:
            raise UnreadableSample(
                "nothing follows the prompt" if not self.count else f"nothing follows {self.beginning}"
            )
        return prompt, rest

    @property
    def beginning(self) -> str:
        """What of a text is its prompt, in words."""
        return f"the first {self.count} {self.unit}s" if self.count > 1 else f"the first {self.unit}"

    def _cut(self, text: str) -> tuple[str, str, str]:
        found = _ENDS[self.unit].finditer(text)
        ends = [match.end() for _, match in zip(range(self.count), found, strict=False)]
        if len(ends) < self.count:
            return "", "", text
        return text[: ends[-1]], "", text[ends[-1] :]


def prompt_form(data: TextData) -> PromptForm | None:
    """How a job's texts are divided into a prompt and what follows; None where it has no prompts."""
    if data.prompt is None:
        return None
    length = data.prompt_length or data.length
    return (
        PromptForm(length) if isinstance(data.prompt, str) else PromptForm(length, data.prompt.count, data.prompt.unit)
    )


def describe_prompts(form: PromptForm | None) -> str:
    """How texts are divided, in words."""
    if form is None:
        return "no prompts"
    where = f"are {form.beginning}" if form.count else "stand in a column"
    return f"prompts that {where}, of at most {form.length} tokens"


def show_prompted(prompt: str, text: str) -> str:
    """A prompt and what was written after it on one line, as people look at them."""
    return f"{prompt} | {text}"
