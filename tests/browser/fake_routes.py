"""The fake service's routes: uploads and results, known images, edits and search, batch life, operators, keys."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from typing import Any

from flask import Blueprint, Response, jsonify, request

KEY = "tf_secret"
_SCOPES = ["read", "write", "operate"]


def problem(status: int, detail: str) -> Any:
    answer = jsonify(title="Refused", status=status, detail=detail, request_id="req_1")
    answer.status_code = status
    answer.mimetype = "application/problem+json"
    return answer


def add(api: Blueprint, service: Any) -> None:
    _batches(api, service)
    _images(api, service)
    _results(api, service)
    _known(api, service)
    _tags(api, service)
    _life(api, service)
    _operate(api, service)
    _keys(api, service)
    api.before_request(lambda: _locked(service))


def _locked(service: Any) -> Any:
    if service.key_required and request.cookies.get("tagfleet") != KEY and not request.path.endswith("/session"):
        return problem(401, "This server asks for a key.")
    return None


def _batches(api: Blueprint, service: Any) -> None:
    @api.post("/batches")
    def create() -> Any:
        return service.create(**request.get_json()), 201

    @api.get("/batches")
    def batches() -> Any:
        newest = sorted(service.batches, reverse=True)
        start = newest.index(request.args["cursor"]) if "cursor" in request.args else 0
        end = start + int(request.args["limit"])
        return {
            "batches": [service.view(id) for id in newest[start:end]],
            "next_cursor": next(iter(newest[end:]), None),
        }

    @api.get("/batches/<batch_id>")
    def batch(batch_id: str) -> Any:
        if batch_id not in service.batches:
            return problem(404, f"There is no batch {batch_id}.")
        return service.view(batch_id)

    @api.post("/batches/<batch_id>/close")
    def close(batch_id: str) -> Any:
        return service.close(batch_id)


def _images(api: Blueprint, service: Any) -> None:
    @api.post("/batches/<batch_id>/images")
    def upload(batch_id: str) -> Any:
        files = request.files.getlist("files")
        service.uploads_allowed.wait(timeout=60)
        if service.refusals:
            return problem(*service.refusals.pop(0))
        if service.batches[batch_id]["closed_at"]:
            return problem(409, f"Batch {batch_id} is closed: start a new one.")
        service.upload_sizes.append(len(files))
        return {"images": [service.store(batch_id, part.filename or "", part.read()) for part in files]}, 201

    @api.get("/images/<image_id>/thumbnail")
    def thumbnail(image_id: str) -> Any:
        body, kind = service.thumbnail(image_id)
        return Response(body, mimetype=kind)


def _results(api: Blueprint, service: Any) -> None:
    @api.get("/batches/<batch_id>/results")
    def results(batch_id: str) -> Any:
        mine = [item for item in service.all_items() if item["batch_id"] == batch_id]
        start, limit = int(request.args.get("cursor", 0)), int(request.args.get("limit", 100))
        more = str(start + limit) if start + limit < len(mine) else None
        return {"results": mine[start : start + limit], "next_cursor": more}

    @api.get("/batches/<batch_id>/events")
    def events(batch_id: str) -> Any:
        if not service.streams:
            return problem(503, "No streams today.")
        last = request.headers.get("Last-Event-ID") or request.args.get("last_event_id") or "0"
        service.streams_opened.append(last)
        return Response(service.events(batch_id, int(last)), mimetype="text/event-stream")


def _known(api: Blueprint, service: Any) -> None:
    @api.post("/images/check")
    def check() -> Any:
        wanted = set(request.get_json()["sha256"])
        return {"known": {item["sha256"]: item["image_id"] for item in service.all_items() if item["sha256"] in wanted}}

    @api.post("/batches/<batch_id>/images/known")
    def known(batch_id: str) -> Any:
        here = {item["sha256"]: item["image_id"] for item in service.all_items()}
        images = [
            service.store(batch_id, one["name"], service.contents[here[one["sha256"]]])
            if one["sha256"] in here
            else None
            for one in request.get_json()["images"]
        ]
        return {"images": images}, 201


def _tags(api: Blueprint, service: Any) -> None:
    numbers = itertools.count(1)

    @api.get("/tags")
    def tags() -> Any:
        q = request.args.get("q", "").lower()
        seen = Counter(tag["name"] for item in service.all_items() for tag in item["tags"])
        found = [{"name": name, "count": n} for name, n in seen.most_common() if name.lower().startswith(q)]
        return {"tags": found[: int(request.args.get("limit", 20))]}

    @api.get("/images")
    def images() -> Any:
        sure = float(request.args.get("min_confidence", 0))
        found = [
            item
            for item in service.all_items()
            if any(tag["name"] == request.args["tag"] and (tag["confidence"] or 1) >= sure for tag in item["tags"])
        ]
        start, limit = int(request.args.get("cursor", 0)), int(request.args["limit"])
        more = str(start + limit) if start + limit < len(found) else None
        return {"images": found[start : start + limit], "next_cursor": more}

    @api.patch("/batches/<batch_id>/tags")
    def edit(batch_id: str) -> Any:
        wanted = request.get_json()
        edit_id = f"edt_{next(numbers):03}"
        service.edits[edit_id] = {}
        for image_id in wanted["image_ids"]:
            old = service.items[image_id]
            service.edits[edit_id][image_id] = old["tags"]
            gone = {*wanted["remove"], *wanted["add"]}
            fresh = [{"name": n, "confidence": None, "source": "person", "instances": []} for n in wanted["add"]]
            service.change(image_id, tags=[*fresh, *(tag for tag in old["tags"] if tag["name"] not in gone)])
        return {"images": [service.items[id] for id in wanted["image_ids"]], "edit_id": edit_id}

    @api.post("/batches/<batch_id>/tags/undo")
    def undo(batch_id: str) -> Any:
        before = service.edits.pop(request.get_json()["edit_id"])
        for image_id, old in before.items():
            service.change(image_id, tags=old)
        return {"images": [service.items[id] for id in before]}

    @api.post("/images/<image_id>/feedback")
    def feedback(image_id: str) -> Any:
        tags = copy.deepcopy(service.items[image_id]["tags"])
        for tag in tags:
            if tag["name"] == request.get_json()["tag"]:
                tag["source"] = "person"
        service.change(image_id, tags=tags)
        return {"image": service.items[image_id]}


def _life(api: Blueprint, service: Any) -> None:
    @api.post("/batches/<batch_id>/cancel")
    def cancel(batch_id: str) -> Any:
        for item in service.all_items():
            if item["batch_id"] == batch_id and item["status"] == "queued":
                service.change(item["image_id"], status="cancelled")
        service.batches[batch_id] |= {"status": "cancelled", "closed_at": "2026-06-19T14:03:04Z"}
        service.change("", batch_id=batch_id)
        return service.view(batch_id)

    @api.post("/batches/<batch_id>/retry")
    def retry(batch_id: str) -> Any:
        wanted = request.get_json().get("image_ids")
        mine = [item for item in service.all_items() if item["batch_id"] == batch_id and item["status"] == "failed"]
        chosen = [item["image_id"] for item in mine if wanted is None or item["image_id"] in wanted]
        service.batches[batch_id]["status"] = "in_progress"
        for image_id in chosen:
            service.change(image_id, status="queued", error=None, finished_at=None)
        return {"retried": len(chosen), "batch": service.view(batch_id)}

    @api.delete("/batches/<batch_id>")
    def delete(batch_id: str) -> Any:
        service.forget(batch_id)
        return "", 204

    @api.get("/batches/<batch_id>/export")
    def export(batch_id: str) -> Any:
        kind = request.args["format"]
        headers = {"Content-Disposition": f'attachment; filename="{batch_id}.{kind}"'}
        return Response("name,tag\n", mimetype="text/csv", headers=headers)


def _operate(api: Blueprint, service: Any) -> None:
    @api.get("/fleet/history")
    def history() -> Any:
        return service.history

    @api.get("/fleet/dead-letters")
    def dead_letters() -> Any:
        return {"dead_letters": service.dead_letters}

    @api.post("/fleet/dead-letters/redrive")
    def redrive() -> Any:
        redriven = len(service.dead_letters)
        service.dead_letters = []
        for queue in service.fleet["queues"].values():
            queue["dead"] = 0
        return {"redriven": redriven}

    @api.get("/models/registered")
    def registered() -> Any:
        return {"models": service.registered, "damaged": []}

    @api.put("/models/<name>/default")
    def choose(name: str) -> Any:
        version = request.get_json()["version"]
        service.registered = [
            model | {"default": model["version"] == version} if model["name"] == name else model
            for model in service.registered
        ]
        return registered()

    @api.post("/fleet/<any(pause, resume):what>")
    def pause(what: str) -> Any:
        service.fleet = service.fleet | {"paused": what == "pause"}
        return {"paused": what == "pause"}

    @api.put("/fleet/cap")
    def cap() -> Any:
        wanted = request.get_json()["max_workers"]
        found = {"cap": 4, "cap_source": "settings"} if wanted is None else {"cap": wanted, "cap_source": "operator"}
        service.fleet = service.fleet | found
        return found

    @api.post("/fleet/workers/<worker_id>/drain")
    def drain(worker_id: str) -> Any:
        (worker,) = (one for one in service.fleet["workers"] if one["worker_id"] == worker_id)
        worker["state"] = "draining"
        return {"worker_id": worker_id}, 202


def _keys(api: Blueprint, service: Any) -> None:
    @api.get("/session")
    def session() -> Any:
        signed_in = request.cookies.get("tagfleet") == KEY
        scopes = _SCOPES if signed_in or not service.key_required else []
        return {"required": service.key_required, "signed_in": signed_in, "scopes": scopes}

    @api.post("/session")
    def sign_in() -> Any:
        if request.get_json()["key"] != KEY:
            return problem(401, "This key is not known here; it may have been revoked.")
        answer = Response(status=204)
        answer.set_cookie("tagfleet", KEY, httponly=True, samesite="Strict")
        return answer

    @api.delete("/session")
    def sign_out() -> Any:
        answer = Response(status=204)
        answer.delete_cookie("tagfleet")
        return answer

    @api.get("/keys")
    def keys() -> Any:
        return {"keys": service.keys}

    @api.post("/keys")
    def make_key() -> Any:
        wanted = request.get_json()
        key = {"id": f"key_{len(service.keys)}", **wanted, "created_at": "2026-06-19T14:03:00Z"}
        key |= {"last_used_at": None, "revoked_at": None}
        service.keys.append(key)
        return key | {"key": "tf_new_secret"}, 201

    @api.delete("/keys/<key_id>")
    def revoke(key_id: str) -> Any:
        (key,) = (one for one in service.keys if one["id"] == key_id)
        key["revoked_at"] = "2026-06-19T14:03:00Z"
        return "", 204
