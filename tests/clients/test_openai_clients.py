"""OpenAI's surface with real clients: the official package, LangChain, and LlamaIndex."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from tests.serving import Server, ServerFactory, text

from rmt_model.engine import Engine

DOCUMENT = text(8000).decode()


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def model(client: openai.OpenAI) -> str:
    return client.models.list().data[0].id


def chat(*texts: str) -> Any:
    roles = ["system", "user", "assistant", "user"]
    before = [{"role": roles[at % 4], "content": one} for at, one in enumerate(texts[:-1])]
    return [*before, {"role": "user", "content": texts[-1]}]


def plain_answer(server: Server, question: str, *documents: str, **body: Any) -> dict[str, Any]:
    """What the native calls answer about the same texts."""
    sid = server.session()
    for one in documents:
        server.send(sid, one.encode(), wait=True)
    return server.ask(sid, question, **body)


def test_models(client: openai.OpenAI, model: str, server: Server) -> None:
    assert client.models.retrieve(model).id == model
    assert client.models.list().data[0].object == "model"
    assert model == server.app.state.scheduler.engine.checkpoint.name
    with pytest.raises(openai.NotFoundError, match="gpt-4"):
        client.models.retrieve("gpt-4")


def test_a_chat_is_read_and_answered(client: openai.OpenAI, model: str, server: Server) -> None:
    found = client.chat.completions.create(model=model, messages=chat(DOCUMENT, "Where is Mary?"))
    wanted = plain_answer(server, "Where is Mary?", DOCUMENT)
    (choice,) = found.choices
    assert (choice.message.role, choice.message.content) == ("assistant", wanted["answer"])
    assert choice.finish_reason == wanted["finish_reason"]
    assert (found.object, found.model) == ("chat.completion", model)
    assert abs(found.created - time.time()) < 60
    usage = found.usage
    assert usage is not None
    assert usage.completion_tokens == wanted["usage"]["completion_tokens"]
    assert usage.prompt_tokens == wanted["position"]["tokens"] + wanted["usage"]["prompt_tokens"]
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    details = found.model_extra["rmt"]
    assert server.look(details["session_id"])["read_bytes"] == len(DOCUMENT)
    assert details["answer"] == wanted["answer"]


def test_the_same_texts_are_read_once(start_server: ServerFactory) -> None:
    server = start_server()
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        model = client.models.list().data[0].id

        def ask(url: str, *texts: str) -> Any:
            return client.with_options(base_url=f"{url}/v1").chat.completions.create(
                model=model, messages=chat(*texts), max_tokens=4
            )

        first = ask(server.url, DOCUMENT, "Where is Mary?")
        read = server.metric("rmt_tokens_read_total")
        assert first.usage.prompt_tokens_details.cached_tokens == 0
        again = ask(server.url, DOCUMENT, "Where is Daniel?")
        assert server.metric("rmt_tokens_read_total") == read
        assert again.model_extra["rmt"]["session_id"] == first.model_extra["rmt"]["session_id"]
        assert again.usage.prompt_tokens_details.cached_tokens == server.look(again.rmt["session_id"])["tokens"] > 0
        other = start_server()  # only now: until here it might have read some of it
        elsewhere = ask(other.url, DOCUMENT, "Where is Daniel?")
        assert elsewhere.choices[0].message.content == again.choices[0].message.content
        assert other.metric("rmt_tokens_read_total") == 0
        longer = ask(server.url, DOCUMENT, "Where is Mary?", "In the garden.", "Who?")
        new = server.metric("rmt_tokens_read_total") - read
        assert new < 64  # the document itself was not read again, only the two messages behind it
        assert longer.usage.prompt_tokens_details.cached_tokens == again.usage.prompt_tokens_details.cached_tokens
        sid = longer.model_extra["rmt"]["session_id"]
        whole = server.session()
        for one in (DOCUMENT, "Where is Mary?", "In the garden."):
            server.send(whole, one.encode(), wait=True)
        assert server.look(sid)["digest"] == server.look(whole)["digest"]
        assert server.ask(sid, "Who?", max_tokens=4)["guess"] == server.ask(whole, "Who?", max_tokens=4)["guess"]
        different = ask(server.url, DOCUMENT + " More.", "Where is Mary?")
        assert different.usage.prompt_tokens_details.cached_tokens == 0


def test_a_document_of_200_000_tokens_is_one_message(client: openai.OpenAI, model: str, server: Server) -> None:
    document = text(1_000_000, 5).decode()

    def ask(question: str) -> Any:
        return client.chat.completions.create(model=model, messages=chat(document, question), max_tokens=4)

    first = ask("Where is Mary?")
    read = server.metric("rmt_tokens_read_total")
    assert first.usage.prompt_tokens > 200_000
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    second = ask("Where is Daniel?")
    assert server.metric("rmt_tokens_read_total") == read
    assert second.usage.prompt_tokens_details.cached_tokens > 200_000
    assert second.rmt["answer"] == server.ask(second.rmt["session_id"], "Where is Daniel?", max_tokens=4)["answer"]


def test_the_same_chat_at_the_same_time_is_read_once(start_server: ServerFactory) -> None:
    servers = [start_server(max_unread_bytes=2000) for _ in range(2)]
    name = servers[0].http.get("/v1/models").json()["data"][0]["id"]
    body = {"model": name, "messages": chat(text(30_000, 3).decode(), "Who?"), "max_tokens": 4}

    async def all_at_once() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=60) as http:
            calls = [http.post(f"{servers[n % 2].url}/v1/chat/completions", json=body) for n in range(6)]
            return await asyncio.gather(*calls)

    answers = [answer.json() for answer in asyncio.run(all_at_once())]
    assert len({one["rmt"]["session_id"] for one in answers}) == 1
    assert len({one["choices"][0]["message"]["content"] for one in answers}) == 1
    session = servers[0].look(answers[0]["rmt"]["session_id"])
    assert (session["accepted_bytes"], session["documents"]) == (30_000, 1)
    read = sum(server.metric("rmt_tokens_read_total") for server in servers)
    assert read == session["tokens"]


def test_a_broken_off_chat_goes_on_where_it_was(start_server: ServerFactory) -> None:
    server = start_server(max_unread_bytes=4000, back_pressure_wait_s=1)
    name = server.http.get("/v1/models").json()["data"][0]["id"]
    body = {"model": name, "messages": chat(text(60_000, 4).decode(), "Who?"), "max_tokens": 4}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=0.5)
    found = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60).json()
    assert server.look(found["rmt"]["session_id"])["accepted_bytes"] == 60_000


def test_a_stream_has_role_words_reason_usage_and_its_end(client: openai.OpenAI, model: str) -> None:
    messages = chat(DOCUMENT, "Where is Sandra?")
    plain = client.chat.completions.create(model=model, messages=messages, max_tokens=20)
    stream = client.chat.completions.create(
        model=model, messages=messages, max_tokens=20, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert said == plain.choices[0].message.content
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) > 2
    assert chunks[-2].choices[0].finish_reason == plain.choices[0].finish_reason
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], plain.usage.completion_tokens)
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    without = list(client.chat.completions.create(model=model, messages=messages, max_tokens=20, stream=True))
    assert len(without) == len(chunks) - 1 or without[-1].choices[0].finish_reason is not None


def test_the_stream_ends_by_the_letter(server: Server, model: str) -> None:
    body = {"model": model, "messages": chat("Mary went home.", "Who?"), "stream": True}
    answer = server.http.post("/v1/chat/completions", json=body)
    events = [line for line in answer.text.split("\n\n") if line.startswith("data: ")]
    assert events[-1] == "data: [DONE]"
    assert all(json.loads(event[6:])["object"] == "chat.completion.chunk" for event in events[:-1])


def test_completions(client: openai.OpenAI, model: str, server: Server) -> None:
    prompt = f"{DOCUMENT}\n\nQuestion: Where is Mary?\nAnswer:"
    found = client.completions.create(model=model, prompt=prompt, max_tokens=8)
    wanted = plain_answer(server, "Where is Mary?", DOCUMENT, max_tokens=8)
    assert (found.object, found.choices[0].text) == ("text_completion", wanted["answer"])
    assert found.usage is not None
    streamed = client.completions.create(model=model, prompt=[prompt], max_tokens=8, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == wanted["answer"]


@pytest.mark.parametrize(
    ("content", "document", "question"),
    [
        ("Where is Mary?", "", "Where is Mary?"),
        ("Mary went home.\n\nWhere is Mary?", "Mary went home.", "Where is Mary?"),
        ("Mary went home.\n \nJohn left.\n\nQuestion: Who?\nAnswer:", "Mary went home.\n \nJohn left.", "Who?"),
        ("Mary went home.\nQuery: Who?\nAnswer: ", "Mary went home.", "Who?"),
        (DOCUMENT + "\nWho went home?", DOCUMENT, "Who went home?"),
        ("Intro.\n\n" + DOCUMENT + "\nQuestion: Who?\nAnswer:", "Intro.\n\n" + DOCUMENT, "Who?"),
        ("Intro.\n\n" + DOCUMENT + "\nWho?", "Intro.\n\n" + DOCUMENT, "Who?"),
        (DOCUMENT + " " * 100_000 + "\n\n" + "Who?" + " " * 100_000, DOCUMENT, "Who?"),
    ],
)
def test_a_single_message_holds_text_and_question(
    client: openai.OpenAI, model: str, server: Server, content: str, document: str, question: str
) -> None:
    found = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": [{"type": "text", "text": content}]}], max_tokens=6
    )
    wanted = plain_answer(server, question, *([document] if document else []), max_tokens=6)
    assert found.choices[0].message.content == wanted["answer"]


def test_a_blank_message_is_none(client: openai.OpenAI, model: str, server: Server) -> None:
    found = client.chat.completions.create(model=model, messages=chat(" ", "Mary went home.\n\nWho?"), max_tokens=6)
    assert found.choices[0].message.content == plain_answer(server, "Who?", "Mary went home.", max_tokens=6)["answer"]


def test_half_a_character_is_replaced(server: Server, model: str) -> None:
    parts = '[{"type": "text", "text": "Mary went \\ud83d"}]'
    messages = f'[{{"role": "user", "content": {parts}}}, {{"role": "user", "content": "Who \\udc00?"}}]'
    head = {"Content-Type": "application/json"}
    body = f'{{"model": "{model}", "messages": {messages}}}'
    found = server.http.post("/v1/chat/completions", content=body, headers=head)
    assert found.status_code == 200, found.text
    wanted = plain_answer(server, "Who \ufffd?", "Mary went \ufffd")
    assert found.json()["choices"][0]["message"]["content"] == wanted["answer"]
    broken = server.http.post("/v1/completions", content='{"model": "a\\ud800", "prompt": "Who?"}', headers=head)
    assert broken.status_code == 404


def test_another_checkpoint_reads_the_chat_anew(
    start_server: ServerFactory, make_engine: Callable[..., Engine], tiny_checkpoint: Callable[..., Any]
) -> None:
    """One of the same shape whose memories mean something else, beside the first on one Redis."""
    server, other = start_server(), start_server(make_engine(tiny_checkpoint(seed=77)))
    messages = [chat(DOCUMENT, "Who?"), chat(DOCUMENT, "Who?", "Mary.", "Where?")]
    for one in messages:
        answers = {}
        for url in (server.url, other.url):
            with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
                model = client.models.list().data[0].id
                answers[url] = client.chat.completions.create(model=model, messages=one, max_tokens=4)
        assert len({answer.model_extra["rmt"]["session_id"] for answer in answers.values()}) == 2


def test_rereading_has_all_texts_whatever_was_cached(client: openai.OpenAI, model: str, server: Server) -> None:
    document = text(3000, 11).decode()

    def ask(*texts: str, mode: str) -> Any:
        return client.chat.completions.create(
            model=model, messages=chat(document, *texts), max_tokens=4, extra_body={"mode": mode}
        ).model_extra["rmt"]

    first = ask("Who?", mode="recall")
    assert ask("Who?", mode="reread")["session_id"] == first["session_id"]  # it has the text
    ask("Who?", "Mary.", "Where?", mode="recall")  # a session that begins with the memory of the first
    again = ask("Who?", "Mary.", "Where?", mode="reread")
    assert again["mode"] == "reread"
    session = server.look(again["session_id"])
    assert session["accepted_bytes"] == len(document) + len("Who?") + len("Mary.")
    assert ask("Who?", "Mary.", "Where?", mode="reread")["session_id"] == again["session_id"]


def test_a_chat_that_is_asked_stays(start_server: ServerFactory) -> None:
    server = start_server(chat_ttl_s=4)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        model = client.models.list().data[0].id
        for _ in range(4):
            found = client.chat.completions.create(model=model, messages=chat(DOCUMENT, "Who?"), max_tokens=2)
            time.sleep(1.5)
        assert found.usage is not None
        assert found.usage.prompt_tokens_details.cached_tokens > 0


def test_an_upload_that_somebody_left_open_ends_the_wait(start_server: ServerFactory) -> None:
    server = start_server(read_wait_s=3)
    name = server.http.get("/v1/models").json()["data"][0]["id"]
    body = {"model": name, "messages": chat(DOCUMENT, "Who?"), "max_tokens": 2}
    sid = server.http.post("/v1/chat/completions", json=body).json()["rmt"]["session_id"]
    server.open(sid, b"never to be ended")
    again = server.http.post("/v1/chat/completions", json=body)
    assert again.status_code == 503 or again.json()["rmt"]["session_id"] == sid


def test_a_session_is_asked_instead(client: openai.OpenAI, model: str, server: Server) -> None:
    sid = server.read(DOCUMENT.encode(), focus=["Where is Mary?"])
    wanted = server.ask(sid, "Where is Mary?")["answer"]
    messages = chat("You are a helpful assistant.", "Where is Mary?")
    for extra in ({"extra_body": {"session_id": sid}}, {"extra_headers": {"X-Session-Id": sid}}):
        found = client.chat.completions.create(model=model, messages=messages, **extra)
        assert found.choices[0].message.content == wanted
        assert found.model_extra["rmt"]["session_id"] == sid
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=model, messages=messages, extra_body={"session_id": "ses_none"})


def test_options_are_heard(client: openai.OpenAI, model: str, server: Server) -> None:
    messages = chat(DOCUMENT, "Who?")
    sid = client.chat.completions.create(model=model, messages=messages).model_extra["rmt"]["session_id"]

    def ask(**options: Any) -> str:
        return str(client.chat.completions.create(model=model, messages=messages, **options).choices[0].message.content)

    whole = ask(max_completion_tokens=40)
    assert whole == server.ask(sid, "Who?", max_tokens=40)["answer"]
    assert ask(max_tokens=10_000)  # more than the limit is the limit
    assert ask(stop=[whole[2]], max_tokens=40) == whole[: whole.index(whole[2])].strip()
    drawn = {seed: ask(temperature=1.5, seed=seed, max_tokens=12) for seed in (1, 2, 3)}
    assert len(set(drawn.values())) > 1
    assert ask(temperature=1.5, seed=2, max_tokens=12) == drawn[2]
    reread = client.chat.completions.create(model=model, messages=messages, extra_body={"mode": "reread"})
    assert reread.model_extra["rmt"]["mode"] == "reread"


@pytest.mark.parametrize(
    ("body", "error", "param"),
    [
        ({"model": "gpt-4"}, openai.NotFoundError, None),
        ({"n": 2}, openai.BadRequestError, None),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError, None),
        ({"logprobs": True}, openai.BadRequestError, None),
        ({"response_format": {"type": "json_object"}}, openai.BadRequestError, None),
        ({"temperature": 3}, openai.BadRequestError, "temperature"),
        ({"messages": []}, openai.BadRequestError, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, openai.BadRequestError, None),
        ({"messages": [{"role": "user", "content": " "}]}, openai.BadRequestError, None),
        ({"messages": [{"role": "robot", "content": "x"}]}, openai.BadRequestError, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "x " * 30_000}]}, openai.BadRequestError, None),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            openai.BadRequestError,
            "messages.0",
        ),
    ],
)
def test_errors_have_openais_form(
    client: openai.OpenAI, model: str, body: dict[str, Any], error: type[openai.APIStatusError], param: str | None
) -> None:
    request = {"model": model, "messages": chat("Mary went home.", "Who?"), **body}
    with pytest.raises(error) as caught:
        client.chat.completions.create(**request)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.code
    assert caught.value.param == param
    assert caught.value.request_id


def test_what_is_refused_in_the_middle_of_a_stream_is_an_error(start_server: ServerFactory) -> None:
    server = start_server(read_wait_s=0.3, max_unread_bytes=1 << 20)
    model = server.http.get("/v1/models").json()["data"][0]["id"]
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        stream = client.chat.completions.create(model=model, messages=chat(text(400_000).decode(), "Who?"), stream=True)
        with pytest.raises(openai.APIError, match="still being read"):
            list(stream)


def test_a_wrong_key_is_an_authentication_error(start_server: ServerFactory) -> None:
    from rmt_server.auth import new_key

    secret, line = new_key("acme", "read,write")
    server = start_server(api_keys=line)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="rmt_wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
        model = client.with_options(api_key=secret).models.list().data[0].id
        answer = client.with_options(api_key=secret).chat.completions.create(
            model=model, messages=chat("Mary went home.", "Who?")
        )
    assert answer.choices[0].message.content is not None


def test_langchain(server: Server, model: str) -> None:
    llm = ChatOpenAI(base_url=f"{server.url}/v1", api_key="none", model=model, max_retries=0, max_tokens=12)
    messages = [SystemMessage(DOCUMENT), HumanMessage("Where is Mary?")]
    wanted = plain_answer(server, "Where is Mary?", DOCUMENT, max_tokens=12)["answer"]
    answer = llm.invoke(messages)
    assert answer.content == wanted
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0
    assert "".join(str(chunk.content) for chunk in llm.stream(messages)) == wanted
    assert asyncio.run(llm.ainvoke(messages)).content == wanted


def test_llama_index(server: Server, model: str) -> None:
    llm = OpenAILike(
        api_base=f"{server.url}/v1",
        api_key="none",
        model=model,
        is_chat_model=True,
        max_retries=0,
        max_tokens=12,
        temperature=0,
    )
    wanted = plain_answer(server, "Where is Mary?", DOCUMENT, max_tokens=12)["answer"]
    messages = [ChatMessage(role="system", content=DOCUMENT), ChatMessage(role="user", content="Where is Mary?")]
    assert llm.chat(messages).message.content == wanted
    assert [*llm.stream_chat(messages)][-1].message.content == wanted
    completing = OpenAILike(
        api_base=f"{server.url}/v1",
        api_key="none",
        model=model,
        is_chat_model=False,
        max_retries=0,
        max_tokens=12,
        temperature=0,
    )
    prompt = f"Context information is below.\n{DOCUMENT}\nQuery: Where is Mary?\nAnswer: "
    document = f"Context information is below.\n{DOCUMENT}"
    assert str(completing.complete(prompt)) == plain_answer(server, "Where is Mary?", document, max_tokens=12)["answer"]
