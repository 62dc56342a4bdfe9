"""Wire bodies of OpenAI's API: the part of it that a reader of documents can honour.

What would change an answer and is not done here is refused; what has no bearing (such as `user` or a penalty of 0) is
taken and left alone.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rmt_server.openai.chat import Turn
from rmt_server.service.asking import Outcome
from rmt_server.service.manner import Manner, Mode
from rmt_server.settings import MOST_ENTRIES
from rmt_server.wire.schemas import CitationBody, Stop, without_surrogates

__all__ = [
    "ChatBody",
    "ChatChunk",
    "ChatRequest",
    "CompletionBody",
    "CompletionRequest",
    "DetailsBody",
    "ModelBody",
    "ModelsBody",
    "OpenAIErrorBody",
    "OpenAIRequest",
    "OpenAIUsage",
]

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "best_of": (None, 1),
    "tools": (None, []),
    "functions": (None, []),
    "tool_choice": (None, "none", "auto"),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "echo": (None, False),
    "suffix": (None, ""),
    "audio": (None,),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
}
"""Values that change nothing; others are refused."""
_DEPTH = 5
"""From a request to the text of a part of a message."""


class _Part(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(extra="allow")

    type: str
    text: str = ""


class Message(BaseModel):
    """A message of a chat."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Annotated[list[_Part], Field(max_length=MOST_ENTRIES)] | None = None

    @model_validator(mode="after")
    def _is_text(self) -> Self:
        if not isinstance(self.content, str) and any(part.type != "text" for part in self.content or ()):
            raise ValueError("only parts of type 'text' can be read here")
        return self

    @property
    def text(self) -> str:
        """All of its text."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(part.text for part in self.content)


class _StreamOptions(BaseModel):
    include_usage: bool = False


class OpenAIRequest(BaseModel):
    """What chats and completions have in common."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(description="A name that `GET /v1/models` lists.")
    max_tokens: int | None = Field(
        default=None, gt=0, description="Most tokens of the answer; more than the limit is the limit."
    )
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-(1 << 63), lt=1 << 63)
    stop: Stop | None = None
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    mode: Mode | None = Field(
        default=None, description="Not OpenAI's: how the question is answered, as in native answers."
    )
    session_id: str | None = Field(
        default=None, description="Not OpenAI's: ask this session instead of reading the texts before the question."
    )

    @model_validator(mode="before")
    @classmethod
    def _whole_characters(cls, value: object) -> object:
        return without_surrogates(value, depth=_DEPTH)

    @model_validator(mode="after")
    def _is_done_here(self) -> Self:
        for name, neutral in _NEUTRAL.items():
            if (self.model_extra or {}).get(name) not in neutral:
                raise ValueError(f"{name} is not supported here: leave it out")
        return self

    @property
    def tells_usage(self) -> bool:
        """Whether a stream ends with what the answer took."""
        return self.stream_options is not None and self.stream_options.include_usage

    def manner(self, most_tokens: int) -> Manner:
        """How the question is to be answered, with at most so many tokens."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Manner(
            mode=self.mode,
            max_tokens=None if self.wanted_tokens is None else min(self.wanted_tokens, most_tokens),
            temperature=self.temperature or 0.0,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=None if self.seed is None else abs(self.seed),
            stop=stop,
        )

    @property
    def wanted_tokens(self) -> int | None:
        """Most tokens of the answer, as asked for."""
        return self.max_tokens


class ChatRequest(OpenAIRequest):
    """A chat: all messages but the last are read as documents, whatever their length; the last one asks."""

    messages: list[Message] = Field(min_length=1, max_length=MOST_ENTRIES)
    max_completion_tokens: int | None = Field(default=None, gt=0, description="The newer name of `max_tokens`.")

    @model_validator(mode="after")
    def _ends_with_a_question(self) -> Self:
        if self.messages[-1].role != "user" or not self.messages[-1].text.strip():
            raise ValueError("messages: the last one must be of the role 'user', and ask something")
        return self

    @property
    def wanted_tokens(self) -> int | None:
        """Most tokens of the answer, as asked for."""
        return self.max_completion_tokens or self.max_tokens

    def turn(self, session_id: str | None) -> Turn:
        """What is asked, of a session that a header names if the body names none."""
        return Turn([message.text for message in self.messages], self.session_id or session_id)


class CompletionRequest(OpenAIRequest):
    """A prompt: its last paragraph, or last line, asks; what stands before it is read as a document."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)] = Field(
        description="One text; arrays of tokens, or several prompts, are not supported."
    )

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if not self.text.strip():
            raise ValueError("prompt: it is empty")
        return self

    @property
    def text(self) -> str:
        """The prompt."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]

    def turn(self, session_id: str | None) -> Turn:
        """What is asked, of a session that a header names if the body names none."""
        return Turn([self.text], self.session_id or session_id)


class _CachedTokens(BaseModel):
    cached_tokens: int = Field(description="Tokens that an earlier call had read.")


class OpenAIUsage(BaseModel):
    """Tokens that an answer took; the texts that were read for it count as its prompt."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _CachedTokens

    @classmethod
    def of(cls, prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> Self:
        """Their sum, too."""
        return cls(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            prompt_tokens_details=_CachedTokens(cached_tokens=cached_tokens),
        )


class DetailsBody(BaseModel):
    """What OpenAI's form has no place for."""

    session_id: str = Field(description="The session that answered: it can be asked, traced and kept like any other.")
    answer: str | None = Field(description="null: none was found, or none of this kind can be given.")
    outcome: Outcome
    guess: str
    confidence: float
    mode: Literal["focus", "search", "recall", "reread"]
    citations: list[CitationBody]
    notice: str | None


class FileCitation(BaseModel):
    """A sentence that an answer stands in, in OpenAI's form; `rmt.citations` has the rest."""

    type: Literal["file_citation"] = "file_citation"
    index: int = Field(description="Where in the answer it belongs: behind its last character.")
    file_id: str | None = Field(description="The document's id.")
    filename: str | None = Field(description="The document's name; its id where it has none.")
    quote: str


class _Said(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None
    annotations: list[FileCitation] = []


class _Choice(BaseModel):
    index: int = 0
    message: _Said
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class ChatBody(BaseModel):
    """An answer to a chat."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[_Choice]
    usage: OpenAIUsage
    rmt: DetailsBody

    @classmethod
    def of(cls, text: str, finish_reason: Literal["stop", "length"], **fields: Any) -> Self:
        """One choice."""
        said = _Said(content=text, annotations=fields.pop("annotations", []))
        return cls(choices=[_Choice(message=said, finish_reason=finish_reason)], **fields)


class _TextChoice(BaseModel):
    index: int = 0
    text: str
    logprobs: None = None
    finish_reason: Literal["stop", "length"] | None


class CompletionBody(BaseModel):
    """An answer to a prompt; of a stream, a piece of it."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[_TextChoice]
    usage: OpenAIUsage | None = None
    rmt: DetailsBody | None = None

    @classmethod
    def of(cls, text: str, finish_reason: Literal["stop", "length"] | None, **fields: Any) -> Self:
        """One choice."""
        return cls(choices=[_TextChoice(text=text, finish_reason=finish_reason)], **fields)


class _Delta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None


class _ChunkChoice(BaseModel):
    index: int = 0
    delta: _Delta
    logprobs: None = None
    finish_reason: Literal["stop", "length"] | None


class ChatChunk(BaseModel):
    """A piece of a streamed answer to a chat."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[_ChunkChoice]
    usage: OpenAIUsage | None = None
    rmt: DetailsBody | None = None

    @classmethod
    def of(cls, text: str | None, finish_reason: Literal["stop", "length"] | None, **fields: Any) -> Self:
        """One choice, the role with its first piece."""
        role = fields.pop("role", None)
        return cls(choices=[_ChunkChoice(delta=_Delta(role=role, content=text), finish_reason=finish_reason)], **fields)


class _Error(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class OpenAIErrorBody(BaseModel):
    """An error, in OpenAI's form."""

    error: _Error


class ModelBody(BaseModel):
    """A checkpoint that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "rmt-server"


class ModelsBody(BaseModel):
    """All of them: one."""

    object: Literal["list"] = "list"
    data: list[ModelBody]
