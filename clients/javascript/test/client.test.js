// Against a real server: RMT_URL. Run by tests/clients/test_javascript.py, which starts one with a tiny model.
import assert from "node:assert/strict";
import { createServer as createHttpServer } from "node:http";
import { createServer, connect } from "node:net";
import { test } from "node:test";

import { Client, GaveUpError, ProblemError, SourceError, UsageError } from "../src/index.js";

const URL_ = process.env.RMT_URL ?? "http://127.0.0.1:8080";
const rmt = new Client({ url: URL_ });
const SENTENCE = "Mary went to the garden. Der Bär saß im Grünen – 熊がいる。 ";
const BOOK = SENTENCE.repeat(200);
const BYTES = new TextEncoder().encode(BOOK);

/** Reads in a session of its own. */
async function readAnew(source, options) {
  const session = await rmt.createSession();
  const document = await rmt.read(session.id, source, options);
  return { session: await rmt.getSession(session.id), document };
}

async function* pieces(size) {
  for (let at = 0; at < BYTES.length; at += size) yield BYTES.slice(at, at + size);
}

test("every kind of source arrives byte for byte", async () => {
  const { session: whole, document } = await readAnew(BOOK);
  assert.equal(document.complete, true);
  assert.equal(document.read, true);
  assert.equal(whole.read_bytes, BYTES.length);
  const sources = {
    bytes: BYTES,
    buffer: BYTES.buffer,
    file: new Blob([BYTES]),
    iterable: pieces(1007),
    stream: ReadableStream.from(pieces(7001)),
  };
  for (const [name, source] of Object.entries(sources)) {
    const { session } = await readAnew(source);
    assert.equal(session.digest, whole.digest, name);
  }
});

test("progress is told, and ends with everything", async () => {
  const seen = [];
  await readAnew(BOOK, { onProgress: (progress) => seen.push(progress) });
  assert.ok(seen.every((one, n) => n === 0 || one.sentBytes >= seen[n - 1].sentBytes));
  const last = seen.at(-1);
  assert.equal(last.sentBytes, BYTES.length);
  assert.equal(last.totalBytes, BYTES.length);
  assert.equal(last.readBytes, BYTES.length);
  assert.ok(last.tokens > 0);
});

test("documents have the names of their files, or others that they are given", async () => {
  const file = new File([BYTES], "Bärs Buch.txt");
  const names = [];
  for (const [source, options] of [
    [file, {}],
    [file, { name: "chapter one" }],
    [file, { name: "" }],
    [BOOK, {}],
    [new File([BYTES], "x".repeat(250)), {}],
    [new File([BYTES], "\u0001"), {}],
  ]) {
    names.push((await readAnew(source, options)).document.name);
  }
  assert.deepEqual(names, ["Bärs Buch.txt", "chapter one", null, null, "x".repeat(200), null]);
  const { session } = await readAnew(file);
  const { passages } = await rmt.search(session.id, "Mary");
  assert.deepEqual(new Set(passages.map((one) => one.document)), new Set(["Bärs Buch.txt"]));
  const session2 = await rmt.createSession();
  await assert.rejects(rmt.read(session2.id, BOOK, { name: "n".repeat(201) }), ProblemError);
});

test("connections that are cut lose nothing and send nothing twice", async () => {
  const { hostname, port } = new URL(URL_);
  let cuts = 0;
  const proxy = createServer((near) => {
    const far = connect(Number(port), hostname);
    let left = 15_000; // then the line breaks, wherever that is
    near.on("data", (data) => {
      left -= data.length;
      if (left < 0 && cuts < 4) {
        cuts += 1;
        near.destroy();
        far.destroy();
      } else far.write(data);
    });
    far.on("data", (data) => near.write(data));
    for (const [one, other] of [[near, far], [far, near]]) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  try {
    const url = `http://127.0.0.1:${proxy.address().port}`;
    const through = new Client({ url, retry: { firstPauseS: 0.01 } });
    const session = await through.createSession();
    const troubles = [];
    await through.read(session.id, BOOK.repeat(4), { onProgress: ({ trouble }) => trouble && troubles.push(trouble) });
    const { session: whole } = await readAnew(BOOK.repeat(4));
    assert.ok(cuts > 0);
    assert.ok(troubles.length > 0);
    assert.equal((await rmt.getSession(session.id)).digest, whole.digest);
  } finally {
    proxy.close();
  }
});

test("an upload that broke off goes on, and only with its own document", async () => {
  const session = await rmt.createSession();
  const leaving = new AbortController();
  let documentId = "";
  const left = rmt.read(session.id, BOOK.repeat(4), {
    signal: leaving.signal,
    onProgress: (progress) => {
      documentId = progress.documentId;
      if (progress.sentBytes > 0) leaving.abort();
    },
  });
  await assert.rejects(left, { name: "AbortError" });
  await assert.rejects(rmt.read(session.id, "short", { documentId }), SourceError);
  await rmt.read(session.id, BOOK.repeat(4), { documentId });
  const { session: whole } = await readAnew(BOOK.repeat(4));
  assert.equal((await rmt.getSession(session.id)).digest, whole.digest);
});

test("questions are answered, at once and in words", async () => {
  const session = await rmt.createSession({ focus: ["Where is Mary?"] });
  await rmt.read(session.id, BOOK);
  const answer = await rmt.ask(session.id, "Where is Mary?", { max_tokens: 8 });
  assert.equal(answer.question, "Where is Mary?");
  assert.equal(answer.lane, 0);
  const both = await rmt.askMany(session.id, ["Where is Mary?", "Who went?"]);
  assert.deepEqual(both.answers.map((one) => one.question), ["Where is Mary?", "Who went?"]);
  assert.equal(both.position.bytes, BYTES.length);
  const heard = [];
  for await (const piece of rmt.streamAnswer(session.id, "Where is Mary?", { max_tokens: 8 })) heard.push(piece);
  assert.equal(heard.at(-1).guess, answer.guess);
  assert.equal(heard.at(-1).outcome, answer.outcome);
  await assert.rejects(rmt.askMany(session.id, []), UsageError);
});

test("sentences that hold an answer are handed over before it", async () => {
  const citation = { document_id: "doc_1", quote: "Mary went to the garden.", start: 0, end: 24 };
  const result = { status: 200, headers: {}, body: { answers: [{ answer: "the garden", citations: [citation] }] } };
  const events = [
    ["delta", { question: 0, text: "the garden" }],
    ["citations", { question: 0, citations: [citation] }],
    ["result", result],
  ];
  const server = createHttpServer((_, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.end(events.map(([kind, data]) => `event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`).join(""));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const client = new Client({ url: `http://127.0.0.1:${server.address().port}` });
    const told = [];
    const heard = [];
    const onCitations = (citations) => told.push({ citations, after: heard.length });
    for await (const piece of client.streamAnswer("ses_1", "Where is Mary?", { onCitations })) heard.push(piece);
    assert.deepEqual(told, [{ citations: [citation], after: 1 }]);
    assert.deepEqual(heard, ["the garden", result.body.answers[0]]);
    const plain = [];
    for await (const piece of client.streamAnswer("ses_1", "Where is Mary?")) plain.push(piece);
    assert.deepEqual(plain, heard);
  } finally {
    server.close();
  }
});

test("the text, and the memory along it", async () => {
  const { session } = await readAnew(BOOK);
  const points = await rmt.timeline(session.id, { question: "Where is Mary?", vectors: true });
  assert.ok(points.length > 1);
  assert.equal(points.at(-1).vectors.length, points.at(-1).moved.length);
  assert.equal(typeof points[0].guess, "string");
  const moved = await rmt.movements(session.id);
  assert.deepEqual(moved.columns.map((column) => column.segment), Array.from(moved.columns, (_, at) => at + 1));
  assert.equal(moved.columns[0].moved.length, points[0].vectors[0].length);
  await assert.rejects(rmt.movements(session.id, { lane: 1 }), ProblemError);
  const { text, start, end } = await rmt.getText(session.id, { start: 26, end: 60 });
  assert.equal(text, new TextDecoder().decode(BYTES.slice(start, end)));
  const { passages, position } = await rmt.search(session.id, "Where is Mary?", { limit: 2 });
  assert.equal(position, BYTES.length);
  assert.ok(passages.length >= 1 && passages.length <= 2);
  for (const one of passages) assert.equal(one.text, new TextDecoder().decode(BYTES.slice(one.start, one.end)));
  await assert.rejects(rmt.search(session.id, "?"), ProblemError);
  const trace = await rmt.trace(session.id, "Where is Mary?");
  assert.ok("bytes" in trace);
});

test("snapshots are kept, put back, forked, and travel", async () => {
  const { session } = await readAnew(BOOK);
  const kept = await rmt.createSnapshot(session.id, { name: "one" });
  const content = await rmt.exportSnapshot(kept.id);
  assert.equal(content.length, kept.size_bytes);
  await rmt.read(session.id, "More.");
  await rmt.restore(session.id, kept.id);
  assert.equal((await rmt.getSession(session.id)).read_bytes, BYTES.length);
  const again = await rmt.importSnapshot(content, { name: "again" });
  assert.equal((await rmt.fork(again.id)).read_bytes, BYTES.length);
  assert.equal((await rmt.getSnapshot(kept.id)).name, "one");
  assert.ok((await rmt.listSnapshots(session.id)).snapshots.some((one) => one.id === kept.id));
  await rmt.deleteSnapshot(again.id);
  await assert.rejects(rmt.getSnapshot(again.id), { slug: "snapshot-not-found" });
});

test("events are followed", async () => {
  const session = await rmt.createSession();
  const reading = rmt.read(session.id, BOOK);
  const kinds = [];
  for await (const event of rmt.events(session.id, { after: "0-0" })) {
    kinds.push(event.kind);
    if (event.kind === "done") break;
  }
  assert.ok(kinds.includes("progress"));
  await reading;
});

test("sessions are listed, changed and deleted; what is wrong is told", async () => {
  const session = await rmt.createSession({ metadata: { title: "Book" } });
  const changed = await rmt.updateSession(session.id, { metadata: { title: "Other" } }, { revision: session.revision });
  assert.equal(changed.metadata.title, "Other");
  assert.ok((await rmt.listSessions({ limit: 100 })).sessions.some((one) => one.id === session.id));
  await rmt.deleteSession(session.id);
  await assert.rejects(rmt.getSession(session.id), (error) => {
    assert.ok(error instanceof ProblemError);
    assert.equal(error.status, 404);
    assert.equal(error.slug, "session-not-found");
    assert.match(error.message, /does not exist/);
    assert.ok(error.requestId);
    return true;
  });
  const bad = await rmt.createSession();
  await assert.rejects(rmt.read(bad.id, new Uint8Array([0x41, 0xff])), { slug: "invalid-utf8" });
  assert.throws(() => new Client({ url: "nowhere" }), UsageError);
  assert.throws(() => new Client({ apiKey: "two words" }), UsageError);
});

test("who is not there is given up on", async () => {
  const nobody = new Client({ url: "http://127.0.0.1:9", retry: { giveUpS: 0.2, firstPauseS: 0.05 } });
  await assert.rejects(nobody.read("ses_none", "text"), GaveUpError);
});

test("the server's health is told", async () => {
  assert.deepEqual(await rmt.status(), { ready: true, status: "ready" });
});
