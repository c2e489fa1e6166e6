"""A small W&B: what the library asks of the server while a run logs, and the rows that reached it."""

import gzip
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Wandb:
    """One run's rows, in the order of their lines, and what was told about it."""

    def __init__(self):
        self.rows = []
        self.runs = []
        self.exit_codes = []
        self.bodies = []
        self.preempting = False
        self.answers = threading.Event()
        self.answers.set()
        self.url = None

    def steps(self):
        return [row["_step"] for row in self.rows]

    def answer(self, operation, given):
        known = {
            "id": "B",
            "name": given.get("name"),
            "displayName": given.get("name"),
            "historyLineCount": len(self.rows),
        }
        project = {"id": "P", "name": given.get("project"), "entity": {"id": "E", "name": "ada"}}
        if operation == "RunResumeStatus":
            if not self.runs:
                return {"model": None}
            tail = [json.dumps(row) for row in self.rows[-1:]]
            bucket = known | {
                "summaryMetrics": "{}",
                "config": self.runs[-1]["config"],
                "wandbConfig": '{"t": 1}',
                "historyTail": json.dumps(tail),
                "eventsTail": "[]",
                "logLineCount": 0,
                "eventsLineCount": 0,
                "tags": [],
            }
            return {"model": project | {"bucket": bucket}}
        if operation == "UpsertBucket":
            if given.get("config"):
                self.runs.append(given)
            return {"upsertBucket": {"inserted": len(self.runs) == 1, "bucket": known | {"project": project}}}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/file/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": "B", "uploadHeaders": [], "files": files}}
        return {}

    def stream(self, body):
        history = body.get("files", {}).get("wandb-history.jsonl")
        if history:
            rows = [json.loads(line) for line in history["content"]]
            self.rows[history["offset"] : history["offset"] + len(rows)] = rows
        if body.get("complete"):
            self.exit_codes.append(body["exitcode"])
        self.preempting = self.preempting or bool(body.get("preempting"))


def serve(wandb):
    """Starts it on a free port; `shutdown` ends it. While `wandb.answers` is cleared it takes requests and stays silent."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def reply(self, value):
            if not wandb.answers.wait(60):
                return
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def body(self):
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            raw = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
            wandb.bodies.append(raw)
            return raw

        def do_GET(self):
            self.reply({})

        def do_PUT(self):
            self.body()
            self.reply({})

        def do_POST(self):
            raw = self.body()
            if not wandb.answers.is_set():
                return self.reply({})
            if self.path.endswith("/file_stream"):
                wandb.stream(json.loads(raw))
                return self.reply({"exitcode": None, "limits": {}})
            if self.path != "/graphql":
                return self.reply({})
            given = json.loads(raw)
            operation = re.search(r"(?:query|mutation)\s+(\w+)", given["query"])
            return self.reply({"data": wandb.answer(operation and operation[1], given.get("variables") or {})})

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_):
            pass  # the library hangs up when it is done

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    wandb.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
