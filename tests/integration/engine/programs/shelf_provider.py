"""A native provider for tests: `shelf:index:Box` is a JSON file in the folder SHELF. Real gRPC, real process.

What it was asked is appended to SHELF/journal; SHELF/behave.json tells it to misbehave: {"create:name": {"fail": "why"}},
also `partial` (made, but not ready), `die`, `together` (goes on once so many calls were in flight at a time), and `wait` (until SHELF/go exists or Cancel comes,
`stubborn`: only the former). `create:*` is for every name. SHELF/most-at-once tells how many calls it ever had at a time.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from google.protobuf import empty_pb2, struct_pb2
from google.protobuf.json_format import MessageToDict, ParseDict
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, plugin_pb2, provider_pb2_grpc, status_pb2
from pulumi.runtime.proto import provider_pb2 as pb

SIG, SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
SHELF = Path(os.environ["SHELF"])
INPUTS = {"title", "text", "size", "kind", "place", "labels", "code", "parts"}
FORCES = {"kind", "place"}


def plain(value):
    if isinstance(value, dict):
        return plain(value["value"]) if value.get(SIG) == SECRET else {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list) else value


def props(struct):
    return MessageToDict(struct)


def wire(value):
    return ParseDict(value, struct_pb2.Struct())


def flat(value, prefix=""):
    if isinstance(value, dict) and value:
        found = {}
        for key, item in value.items():
            found |= flat(item, f"{prefix}.{key}" if prefix else key)
        return found
    return {prefix: value}


class Shelf(provider_pb2_grpc.ResourceProviderServicer):
    def __init__(self, engine):
        self.engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(engine))
        self.cancelled = threading.Event()
        self.lock = threading.Lock()
        self.changed = threading.Condition()
        self.zone = "north"
        self.at_once = self.most_at_once = 0

    def note(self, what, **more):
        with self.lock, (SHELF / "journal").open("a") as journal:
            journal.write(json.dumps({"op": what, **more}) + "\n")

    def behave(self, what, request, context, id_=""):
        file = SHELF / "behave.json"
        wishes = json.loads(file.read_text()) if file.exists() else {}
        wanted = wishes.get(f"{what}:{request.name}", wishes.get(f"{what}:*", {}))
        if "together" in wanted:
            self.together(int(wanted["together"]))
        if "wait" in wanted:
            (SHELF / f"waiting-{request.name}").touch()
            log = engine_pb2.LogRequest(severity=1, message="waiting for go", urn=request.urn, ephemeral=True)
            self.engine.Log(log)
            deadline = time.monotonic() + 30
            while not (SHELF / "go").exists():
                given_up = self.cancelled.wait(0.01) and wanted["wait"] != "stubborn"
                if given_up or time.monotonic() > deadline:
                    context.abort(grpc.StatusCode.CANCELLED, "gave up waiting: cancelled")
                time.sleep(0.01)
        if "die" in wanted:
            print("the shelf fell down", file=sys.stderr, flush=True)
            os._exit(3)
        if "fail" in wanted:
            context.abort(grpc.StatusCode.UNKNOWN, wanted["fail"])
        return wanted

    def together(self, count):
        with self.changed:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            (SHELF / "most-at-once").write_text(str(self.most_at_once))
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.most_at_once >= count, timeout=20)
        time.sleep(0.02)  # whoever comes although the others are still here is seen
        with self.changed:
            self.at_once -= 1

    def Handshake(self, request, context):
        asked = ("root_directory", "program_directory", "configure_with_urn", "invoke_with_preview")
        self.note("handshake", **{name: getattr(request, name) for name in asked})
        return pb.ProviderHandshakeResponse(accept_secrets=True, supports_autonaming_configuration=True)

    def GetPluginInfo(self, request, context):
        return plugin_pb2.PluginInfo(version=os.environ.get("SHELF_VERSION", "1.0.0"))

    def Attach(self, request, context):
        self.note("attach", address=request.address)
        self.engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(request.address))
        return empty_pb2.Empty()

    def CheckConfig(self, request, context):
        news = props(request.news)
        failures = []
        if news.get("zone") == "nowhere":
            failures = [pb.CheckFailure(property="zone", reason="there is no such zone")]
        return pb.CheckResponse(inputs=request.news, failures=failures)

    def DiffConfig(self, request, context):
        moved = props(request.old_inputs).get("zone") != props(request.news).get("zone")
        return pb.DiffResponse(changes=2 if moved else 1, replaces=["zone"] if moved else [])

    def Configure(self, request, context):
        self.zone = props(request.args).get("zone", "north")
        self.note("configure", args=plain(props(request.args)))
        return pb.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def Check(self, request, context):
        news = props(request.news)
        failures = []
        if request.HasField("autonaming"):
            told = request.autonaming
            self.note("check", proposed=told.proposed_name, mode=told.mode, seed=len(request.randomSeed))
        shown = plain(news)
        if not isinstance(shown.get("text", ""), str):
            failures.append(pb.CheckFailure(property="text", reason="must be text"))
        size = shown.get("size", 1)
        if size != UNKNOWN and size < 0:
            failures.append(pb.CheckFailure(property="size", reason="must not be negative"))
        for key in sorted(news.keys() - INPUTS):
            failures.append(pb.CheckFailure(property=key, reason="is not known"))
        return pb.CheckResponse(inputs=wire({"size": 1} | news), failures=failures)

    def Diff(self, request, context):
        old, new = plain(props(request.old_inputs)), plain(props(request.news))
        if old.pop("__provider", None):  # a dynamic provider had it before, which knew less
            new = {key: new[key] for key in old.keys() & new.keys()}
        before, after = flat(old), flat(new)
        detail = {}
        for path in before.keys() | after.keys():
            if before.get(path) == after.get(path):
                continue
            kind = "ADD" if path not in before else "DELETE" if path not in after else "UPDATE"
            if path in FORCES:
                kind += "_REPLACE"
            detail[path] = pb.PropertyDiff(kind=pb.PropertyDiff.Kind.Value(kind), inputDiff=True)
        return pb.DiffResponse(
            changes=2 if detail else 1,
            diffs=sorted({p.split(".")[0] for p in detail}),
            replaces=sorted(FORCES & detail.keys()),
            detailedDiff=detail,
            hasDetailedDiff=True,
            deleteBeforeReplace="place" in detail,
            stables=["path"],
        )

    def outputs(self, inputs, id_):
        file = SHELF / f"{id_}.json"
        rotated = SHELF / "rotated"  # so often the password was changed outside
        code = {SIG: SECRET, "value": f"code of {id_}" + (rotated.read_text() if rotated.exists() else "")}
        return {**inputs, "path": str(file), "password": code, "shade": f"shade of {id_}"}

    def Create(self, request, context):
        inputs = props(request.properties)
        if request.preview:
            return pb.CreateResponse(properties=request.properties)
        version = os.environ.get("SHELF_VERSION")
        self.note("create", name=request.name, timeout=request.timeout, zone=self.zone, version=version)
        wanted = self.behave("create", request, context)
        with self.lock:
            number = 1
            while (SHELF / f"{request.name}-{number}.json").exists():
                number += 1
            id_ = f"{request.name}-{number}"
            (SHELF / f"{id_}.json").write_text(json.dumps(plain(inputs)))
        outputs = wire(self.outputs(inputs, id_))
        if "partial" in wanted:
            self.partial(context, id_, outputs, wanted["partial"])
        return pb.CreateResponse(id=id_, properties=outputs)

    def partial(self, context, id_, outputs, reason):
        status = status_pb2.Status(code=2, message=reason)
        status.details.add().Pack(pb.ErrorResourceInitFailed(id=id_, properties=outputs, reasons=[reason]))
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.UNKNOWN, reason)

    def Update(self, request, context):
        inputs = props(request.news)
        if request.preview:
            return pb.UpdateResponse(properties=request.news)
        self.note("update", name=request.name, timeout=request.timeout)
        wanted = self.behave("update", request, context)
        (SHELF / f"{request.id}.json").write_text(json.dumps(plain(inputs)))
        outputs = wire(self.outputs(inputs, request.id))
        if "partial" in wanted:
            self.partial(context, request.id, outputs, wanted["partial"])
        return pb.UpdateResponse(properties=outputs)

    def Read(self, request, context):
        self.note("read", name=request.name, timeout=request.timeout, id=request.id)
        self.behave("read", request, context)
        if request.id.startswith("spg99:was-it-made"):
            return self.was_made(request)
        file = SHELF / f"{request.id}.json"
        if not file.exists():
            return pb.ReadResponse()
        inputs = json.loads(file.read_text())
        if "code" in inputs:
            inputs["code"] = {SIG: SECRET, "value": inputs["code"]}
        return pb.ReadResponse(id=request.id, inputs=wire(inputs), properties=wire(self.outputs(inputs, request.id)))

    def was_made(self, request):
        if not (SHELF / "remembers").exists():
            return pb.ReadResponse()  # as a provider answers that does not know the question
        made = sorted(SHELF.glob(f"{request.name}-*.json"))
        if not made:
            return pb.ReadResponse(properties=wire({"__wasMade": {"made": False}}))
        inputs, unfinished = json.loads(made[-1].read_text()), SHELF / "unfinished"
        verdict = {"made": True, "unfinished": unfinished.read_text() if unfinished.exists() else ""}
        found = self.outputs(inputs, made[-1].stem) | {"__wasMade": verdict}
        return pb.ReadResponse(id=made[-1].stem, inputs=wire(inputs), properties=wire(found))

    def Delete(self, request, context):
        self.note("delete", name=request.name, id=request.id, timeout=request.timeout)
        self.behave("delete", request, context)
        (SHELF / f"{request.id}.json").unlink(missing_ok=True)
        return empty_pb2.Empty()

    def Invoke(self, request, context):
        if request.tok != "shelf:index:find":
            context.abort(grpc.StatusCode.UNKNOWN, f"there is no function {request.tok}")
        text = props(request.args)["text"]
        self.note("invoke", preview=request.preview, text=text)
        names = sorted(f.stem for f in SHELF.glob("*-*.json") if json.loads(f.read_text()).get("text") == text)
        return pb.InvokeResponse(
            **{"return": wire({"names": names, "key": {SIG: SECRET, "value": "key of the shelf"}})}
        )

    def Cancel(self, request, context):
        self.note("cancel")
        self.cancelled.set()
        return empty_pb2.Empty()


def main():
    server = grpc.server(ThreadPoolExecutor(32))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Shelf(sys.argv[-1]), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.stop(0)


main()
