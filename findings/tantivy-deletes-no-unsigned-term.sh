#!/usr/bin/env bash
# tantivy (Python) 0.27.0: deleting by a term of an unsigned field deletes nothing, and says nothing.
#
# Expected: `IndexWriter.delete_documents_by_term("number", 2)` deletes the document whose unsigned field `number` is 2, as
# it does for the signed field `whole` and for text, or it raises an error.
# Seen: the call returns as the others do, and after `commit` the document is still there. A Python integer becomes a
# signed term, which no unsigned field has. A range query over the same value, FieldType.Unsigned, finds and deletes it.
# What follows here: the search index deletes by a range query (server/rmt_server/search/index.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tantivy==0.27.0
"$work/venv/bin/python" - <<'PYTHON' | tee "$work/seen"
import tantivy

builder = tantivy.SchemaBuilder()
builder.add_unsigned_field("number", stored=True, indexed=True)
builder.add_integer_field("whole", stored=True, indexed=True)
builder.add_text_field("name", stored=True, tokenizer_name="raw")
schema = builder.build()
index = tantivy.Index(schema)
writer = index.writer(15_000_000, 1)
for n in range(1, 5):
    writer.add_document(tantivy.Document.from_dict({"number": n, "whole": n, "name": f"n{n}"}, schema))
writer.commit()


def left(what: str) -> None:
    writer.commit()
    index.reload()
    print(f"{what}: {index.searcher().num_docs} documents left")


left("before")
writer.delete_documents_by_term("number", 2)
left("by a term of the unsigned field")
writer.delete_documents_by_term("whole", 3)
left("by a term of the signed field")
writer.delete_documents_by_term("name", "n4")
left("by a term of the text field")
wanted = tantivy.Query.range_query(schema, "number", tantivy.FieldType.Unsigned, 2, 2)
print(f"a range query finds {index.searcher().search(wanted, 10).count}")
writer.delete_documents_by_query(wanted)
left("by a range query over the unsigned field")
PYTHON
diff "$work/seen" - <<'SEEN'
before: 4 documents left
by a term of the unsigned field: 4 documents left
by a term of the signed field: 3 documents left
by a term of the text field: 2 documents left
a range query finds 1
by a range query over the unsigned field: 1 documents left
SEEN
echo 'as seen with tantivy 0.27.0'
