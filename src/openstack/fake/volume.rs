//! Cinder: volumes and snapshots.

use serde_json::{Value, json};

use super::{
    image,
    server::{Asked, Reply},
    state::{Happening, Kind, State, complaint, text},
};

pub(super) fn answer(state: &mut State, asked: &Asked) -> Reply {
    let (method, path) = asked.parts();
    let (kind, one) = match path.first() {
        Some(&"volumes") => (Kind::Volume, "volume"),
        Some(&"snapshots") => (Kind::Snapshot, "snapshot"),
        Some(&"types") => {
            let types = [json!({ "id": "type-rbd", "name": "rbd", "is_public": true })];
            return state.page(asked, "volume_types", "/v3/types", &types);
        }
        Some(&"messages") => return messages(state, asked),
        Some(&"limits") => {
            let (volumes, snapshots) =
                (state.table(Kind::Volume).count(), state.table(Kind::Snapshot).count());
            return Reply::json(
                200,
                &json!({ "limits": { "rate": [], "absolute": {
                "maxTotalVolumes": state.told_quota(), "totalVolumesUsed": volumes,
                "maxTotalSnapshots": state.told_quota(), "totalSnapshotsUsed": snapshots,
                "maxTotalVolumeGigabytes": 1000, "totalGigabytesUsed": volumes + snapshots } } }),
            );
        }
        _ => return complaint(404, "The resource could not be found."),
    };
    if let Some(id) = path.get(1).filter(|it| **it != "detail")
        && state.get(kind, id).is_none()
    {
        return complaint(404, &format!("{one} {id} could not be found."));
    }
    match (method, &path[1..]) {
        ("GET", ["detail"]) => {
            let items: Vec<_> = state
                .table(kind)
                .filter(|it| asked.query("name").is_none_or(|name| it["name"] == name))
                .filter(|it| asked.query("volume_id").is_none_or(|id| it["volume_id"] == id))
                .cloned()
                .collect();
            state.page(asked, &format!("{one}s"), &format!("/v3/{one}s/detail"), &items)
        }
        ("GET", [id]) => state
            .get(kind, id)
            .map_or_else(|| complaint(404, ""), |it| Reply::json(200, &json!({ one: it }))),
        ("POST", []) if kind == Kind::Volume => create(state, &asked.body["volume"]),
        ("POST", []) => snapshot(state, &asked.body["snapshot"]),
        ("PUT", [id]) => edit(state, kind, one, id, "name", &asked.body[one]["name"]),
        ("PUT", [id, "metadata"]) => {
            edit(state, kind, one, id, "metadata", &asked.body["metadata"]);
            Reply::json(200, &json!({ "metadata": asked.body["metadata"] }))
        }
        ("POST", [id, "action"]) if kind == Kind::Volume => action(state, asked, id),
        ("DELETE", [id]) => delete(state, kind, one, id),
        _ => complaint(404, "The resource could not be found."),
    }
}

/// What users are told of a volume that failed.
fn messages(state: &State, asked: &Asked) -> Reply {
    let id = asked.query("resource_uuid").unwrap_or_default();
    let failed = state.get(Kind::Volume, id).is_some_and(|it| it["status"] == "error");
    let told: Vec<_> = state
        .manners
        .volume_fault
        .iter()
        .filter(|_| failed)
        .map(|it| {
            json!({ "id": format!("message-{id}"), "resource_type": "VOLUME", "resource_uuid": id,
                "user_message": it, "message_level": "ERROR", "request_id": format!("req-{id}"),
                "created_at": state.now_text() })
        })
        .collect();
    state.page(asked, "messages", "/v3/messages", &told)
}

/// Takes a snapshot, which takes its time.
pub(super) fn snapped(state: &mut State, volume: &str, name: &str, metadata: &Value) -> String {
    let id = state.next_id("");
    let size = state.get(Kind::Volume, volume).map(|it| it["size"].clone()).unwrap_or_default();
    let knows = state.get(Kind::Volume, volume).map(|it| it["volume_image_metadata"].clone());
    let snapshot = json!({ "id": id, "name": name, "status": "creating", "size": size, "volume_id": volume,
        "metadata": metadata, "_image_metadata": knows, "created_at": state.now_text() });
    state.put(Kind::Snapshot, snapshot);
    state.becomes(Kind::Snapshot, &id, json!({ "status": "available" }));
    id
}

fn create(state: &mut State, wanted: &Value) -> Reply {
    if state.is_full(Kind::Volume) {
        return complaint(
            413,
            "VolumeLimitExceeded: Maximum number of volumes allowed exceeded for quota 'volumes'.",
        );
    }
    let snapshot = wanted["snapshot_id"].as_str();
    let of_snapshot =
        snapshot.and_then(|it| state.get(Kind::Snapshot, it)).map(|it| it["size"].clone());
    if snapshot.is_some() && of_snapshot.is_none() {
        return complaint(404, "Snapshot could not be found.");
    }
    let size = wanted.get("size").cloned().or(of_snapshot).unwrap_or_default();
    if size.as_u64().is_none_or(|it| it == 0) {
        return complaint(400, "Invalid input received: Volume size must be a positive integer");
    }
    let image = wanted["imageRef"].as_str();
    if image.is_some_and(|it| state.get(Kind::Image, it).is_none()) {
        return complaint(400, "Invalid image identifier or unable to access requested image.");
    }
    let knows = match (image, snapshot) {
        (Some(image), _) => known(state, image),
        (None, Some(snapshot)) => state
            .get(Kind::Snapshot, snapshot)
            .map(|it| it["_image_metadata"].clone())
            .unwrap_or_default(),
        (None, None) => Value::Null,
    };
    let id = state.next_id("");
    let is_bootable = image.is_some() || snapshot.is_some();
    let volume = json!({ "id": id, "name": wanted["name"], "status": "creating", "size": size,
        "bootable": is_bootable.to_string(), "snapshot_id": snapshot, "metadata": wanted["metadata"],
        "created_at": state.now_text(), "attachments": [],
        "volume_image_metadata": if knows.is_object() { knows } else { json!({}) } });
    state.put(Kind::Volume, volume.clone());
    if image.is_some() {
        state.becomes(Kind::Volume, &id, json!({ "status": "downloading" }));
    }
    let delay = state.manners.delay;
    let end = if state.manners.volume_fault.is_some() { "error" } else { "available" };
    state.later(delay * 2, Happening::Becomes(Kind::Volume, id, json!({ "status": end })));
    Reply::json(202, &json!({ "volume": volume }))
}

fn snapshot(state: &mut State, wanted: &Value) -> Reply {
    let volume = text(wanted, "volume_id").to_owned();
    let Some(found) = state.get(Kind::Volume, &volume) else {
        return complaint(404, "Volume could not be found.");
    };
    let status = text(found, "status");
    if status != "available" && !(status == "in-use" && wanted["force"] == true) {
        return complaint(
            400,
            &format!(
                "Invalid volume: Volume {volume} status must be available, but current status is: {status}."
            ),
        );
    }
    if state.is_full(Kind::Snapshot) {
        return complaint(
            413,
            "SnapshotLimitExceeded: Maximum number of snapshots allowed exceeded for quota 'snapshots'.",
        );
    }
    let id = snapped(state, &volume, text(wanted, "name"), &wanted["metadata"]);
    match state.get(Kind::Snapshot, &id) {
        Some(it) => Reply::json(202, &json!({ "snapshot": it })),
        None => complaint(404, "Snapshot could not be found."),
    }
}

fn action(state: &mut State, asked: &Asked, id: &str) -> Reply {
    if let Some(wanted) = asked.body.get("os-volume_upload_image") {
        let status =
            state.get(Kind::Volume, id).map(|it| text(it, "status").to_owned()).unwrap_or_default();
        if status != "available" {
            return complaint(
                400,
                &format!(
                    "Invalid volume: Volume {id} status must be available or in-use, but current status is: {status}."
                ),
            );
        }
        // It inherits what the volume knows of an image.
        let mut more = state
            .get(Kind::Volume, id)
            .and_then(|it| it["volume_image_metadata"].as_object().cloned())
            .unwrap_or_default();
        more.insert("disk_format".into(), wanted["disk_format"].clone());
        let image = image::made(state, text(wanted, "image_name"), more.into());
        let delay = state.manners.delay;
        if let Some(volume) = state.edit(Kind::Volume, id) {
            volume.insert("status".into(), "uploading".into());
        }
        state.becomes(Kind::Image, &image, json!({ "status": "saving" }));
        state.later(delay * 2, Happening::Becomes(Kind::Image, image.clone(), json!({
            "status": "active", "size": 1_048_576, "os_hash_algo": "sha512", "os_hash_value": "00" })));
        state.later(
            delay * 2,
            Happening::Becomes(Kind::Volume, id.to_owned(), json!({ "status": "available" })),
        );
        return Reply::json(
            202,
            &json!({ "os-volume_upload_image": { "id": id, "status": "uploading", "image_id": image } }),
        );
    }
    if let Some(wanted) = asked.body.get("os-set_bootable") {
        edit(state, Kind::Volume, "volume", id, "bootable", &wanted["bootable"].to_string().into());
        return Reply::empty(200);
    }
    if let Some(wanted) = asked.body.get("os-set_image_metadata") {
        let mut knows = state
            .get(Kind::Volume, id)
            .and_then(|it| it["volume_image_metadata"].as_object().cloned())
            .unwrap_or_default();
        knows.extend(wanted["metadata"].as_object().cloned().unwrap_or_default());
        edit(state, Kind::Volume, "volume", id, "volume_image_metadata", &knows.into());
        return Reply::json(200, &json!({ "metadata": wanted["metadata"] }));
    }
    if let Some(wanted) = asked.body.get("os-unset_image_metadata") {
        let known = state
            .edit(Kind::Volume, id)
            .and_then(|it| it.get_mut("volume_image_metadata")?.as_object_mut());
        return match known.and_then(|it| it.remove(text(wanted, "key"))) {
            Some(_) => Reply::empty(200),
            None => complaint(404, "Metadata for the volume could not be found."),
        };
    }
    complaint(400, "There is no such action.")
}

/// What a volume learns of the image it is filled with: its properties.
fn known(state: &State, image: &str) -> Value {
    const OWN: [&str; 4] = ["id", "name", "visibility", "status"];
    let own = |key: &str| OWN.contains(&key) || key.starts_with("os_hash") || key == "owner";
    let properties = state.get(Kind::Image, image).and_then(Value::as_object).cloned();
    properties
        .unwrap_or_default()
        .into_iter()
        .filter(|(key, value)| value.is_string() && !own(key) && !key.contains("format"))
        .filter(|(key, _)| key != "created_at")
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn delete(state: &mut State, kind: Kind, one: &str, id: &str) -> Reply {
    let status = state.get(kind, id).map(|it| text(it, "status").to_owned()).unwrap_or_default();
    if !matches!(status.as_str(), "available" | "error" | "error_deleting") {
        return complaint(
            400,
            &format!(
                "Invalid {one}: {one} status must be available or error, but current status is: {status}"
            ),
        );
    }
    if kind == Kind::Volume && state.table(Kind::Snapshot).any(|it| it["volume_id"] == id) {
        return complaint(400, "Invalid volume: Volume still has 1 dependent snapshots.");
    }
    let has_clones =
        kind == Kind::Snapshot && state.table(Kind::Volume).any(|it| it["snapshot_id"] == id);
    edit(state, kind, one, id, "status", &"deleting".into());
    if has_clones {
        // Accepted, and then taken back.
        state.becomes(kind, id, json!({ "status": "available" }));
    } else {
        state.ends(kind, id);
    }
    Reply::empty(202)
}

fn edit(state: &mut State, kind: Kind, one: &str, id: &str, key: &str, value: &Value) -> Reply {
    let Some(thing) = state.edit(kind, id) else {
        return complaint(404, &format!("{one} {id} could not be found."));
    };
    thing.insert(key.to_owned(), value.clone());
    Reply::json(200, &json!({ one: thing }))
}
