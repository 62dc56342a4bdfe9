"""PromptBuilder: the token ids that stand in front of a segment and behind the last one."""

from tokenizers import Tokenizer

from rmt_model.config import RMTConfig
from rmt_model.errors import CheckpointError, QuestionError
from rmt_model.unicode import whole_characters

__all__ = ["PromptBuilder"]


class PromptBuilder:
    """Turns questions into token ids by a checkpoint's templates.

    Raises:
        CheckpointError: The tokenizer has no token for a newline, with which a focus is padded.
    """

    def __init__(self, tokenizer: Tokenizer, config: RMTConfig) -> None:
        self.config = config
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        # A control token written in a question is text like any other.
        self._tokenizer.encode_special_tokens = True
        newline = self.encode("\n")
        if not newline:
            raise CheckpointError("the tokenizer drops newlines, with which a focus is padded: it cannot be used here")
        self.newline = newline[-1]
        longest_token_bytes = max(len(token.encode()) for token in tokenizer.get_vocab())
        self._most_chars = config.segment_tokens * longest_token_bytes

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def focus(self, question: str) -> list[int]:
        """What a lane with a focus reads in front of every segment.

        Padded in front with newlines to a multiple of `focus_multiple`, so that the length depends on the lane alone
        and lanes of equal length share a step.

        Raises:
            QuestionError: The question is empty or longer than a segment.
        """
        ids = self.encode(self.config.focus_text(self._checked(question)))
        return [self.newline] * (-len(ids) % self.config.focus_multiple) + ids

    def question(self, question: str) -> list[int]:
        """What is read behind the partial segment to ask `question`.

        Raises:
            QuestionError: The question is empty or longer than a segment.
        """
        return self.encode(self.config.question_text(self._checked(question)))

    def _checked(self, question: str) -> str:
        text, most = whole_characters(" ".join(question.split())), self.config.segment_tokens
        if not text:
            raise QuestionError("the question is empty; send a text with at least one visible character")
        if len(text) > self._most_chars:  # not worth the time that counting its tokens would take
            raise QuestionError(f"the question has {len(text)} characters; a segment holds at most {most} tokens")
        tokens = len(self.encode(text))
        if tokens > most:
            raise QuestionError(f"the question has {tokens} tokens; a segment, and so a question, holds at most {most}")
        return text
