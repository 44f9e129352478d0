//! Glance: images.

use serde_json::{Map, Value, json};

use super::{
    server::{Asked, Reply},
    state::{Kind, PROJECT, State, text},
};

pub(super) fn answer(state: &mut State, asked: &Asked) -> Reply {
    let (method, path) = asked.parts();
    if let ["images", id, ..] = path.as_slice()
        && state.get(Kind::Image, id).is_none()
    {
        return Reply::html(404, &format!("No image found with ID {id}"));
    }
    match (method, path.as_slice()) {
        ("GET", ["images"]) => list(state, asked),
        ("POST", ["images"]) => create(state, asked),
        ("GET", ["images", id]) => show(state, id),
        ("PATCH", ["images", id]) => patch(state, asked, id),
        ("DELETE", ["images", id]) => {
            if state.get(Kind::Image, id).is_some_and(|it| it["protected"] == true) {
                return Reply::html(
                    403,
                    &format!("Image {id} is protected and cannot be deleted."),
                );
            }
            state.remove(Kind::Image, id);
            Reply::empty(204)
        }
        ("PUT", ["images", id, "file"]) => upload(state, asked, id),
        ("GET", ["images", id, "members"]) => {
            let members = state
                .get(Kind::Image, id)
                .and_then(|it| it["_members"].as_array().cloned())
                .unwrap_or_default();
            let members: Vec<_> = members
                .iter()
                .map(|it| json!({ "member_id": it, "image_id": id, "status": "pending" }))
                .collect();
            Reply::json(200, &json!({ "members": members }))
        }
        ("POST", ["images", id, "members"]) => {
            let shared = state.get(Kind::Image, id).is_some_and(|it| it["visibility"] == "shared");
            let member = asked.body["member"].clone();
            let members = state
                .edit(Kind::Image, id)
                .and_then(|it| it.entry("_members").or_insert(json!([])).as_array_mut());
            match members {
                _ if !shared => Reply::html(403, "Only shared images have members."),
                Some(members) if members.contains(&member) => {
                    Reply::html(409, "Image member already exists.")
                }
                Some(members) => {
                    members.push(member.clone());
                    Reply::json(
                        200,
                        &json!({ "member_id": member, "image_id": id, "status": "pending" }),
                    )
                }
                None => Reply::html(404, "No image."),
            }
        }
        ("DELETE", ["images", id, "members", member]) => {
            let members =
                state.edit(Kind::Image, id).and_then(|it| it.get_mut("_members")?.as_array_mut());
            match members.and_then(|it| Some((it.iter().position(|it| it == member)?, it))) {
                Some((at, members)) => {
                    members.remove(at);
                    Reply::empty(204)
                }
                None => Reply::html(404, "Membership could not be found."),
            }
        }
        ("POST", ["images", _, "actions", _]) if !asked.body.is_null() => {
            Reply::html(400, "A body is not expected with this request.")
        }
        ("POST", ["images", id, "actions", action]) => {
            let status = if *action == "deactivate" { "deactivated" } else { "active" };
            match state.edit(Kind::Image, id) {
                Some(image) if image["status"] == "queued" => {
                    Reply::html(403, "Not allowed in status queued.")
                }
                Some(image) => {
                    image.insert("status".into(), status.into());
                    Reply::empty(204)
                }
                None => Reply::html(404, "No image."),
            }
        }
        _ => Reply::html(404, "The resource could not be found."),
    }
}

/// What Glance says to an attribute that is not ours to set, or of another type.
fn refused(key: &str, value: &Value) -> Option<Reply> {
    const READ_ONLY: [&str; 13] = [
        "status",
        "owner",
        "size",
        "virtual_size",
        "checksum",
        "os_hash_algo",
        "os_hash_value",
        "created_at",
        "updated_at",
        "direct_url",
        "file",
        "self",
        "schema",
    ];
    if READ_ONLY.contains(&key) {
        return Some(Reply::html(403, &format!("Attribute '{key}' is read-only.")));
    }
    let (fits, kind) = match key {
        "min_disk" | "min_ram" => (value.is_u64(), "integer"),
        "protected" | "os_hidden" => (value.is_boolean(), "boolean"),
        "tags" => (value.is_array(), "array"),
        _ => (value.is_string(), "string"),
    };
    let message = format!(
        "Provided object does not match schema 'image': {value} is not of type '{kind}' in {key}"
    );
    (!fits).then(|| Reply::html(400, &message))
}

/// An image that another service makes.
pub(super) fn made(state: &mut State, name: &str, more: Value) -> String {
    let id = state.next_id("");
    let mut image = json!({
        "id": id, "name": name, "status": "queued", "visibility": "private", "size": null, "virtual_size": null,
        "disk_format": "qcow2", "container_format": "bare", "min_disk": 0, "min_ram": 0, "protected": false,
        "os_hidden": false, "tags": [], "owner": PROJECT, "os_hash_algo": null, "os_hash_value": null,
        "created_at": state.now_text(), "checksum": null,
    });
    if let (Some(image), Value::Object(more)) = (image.as_object_mut(), more) {
        image.extend(more);
    }
    state.put(Kind::Image, image);
    id
}

fn list(state: &State, asked: &Asked) -> Reply {
    let hidden = asked.query("os_hidden") == Some("true");
    let tags: Vec<_> =
        asked.query.iter().filter(|(key, _)| key == "tag").map(|(_, tag)| tag.as_str()).collect();
    let mut images: Vec<_> = state
        .table(Kind::Image)
        .filter(|it| it["os_hidden"] == hidden)
        .filter(|it| asked.query("name").is_none_or(|name| it["name"] == name))
        .filter(|it| asked.query("owner").is_none_or(|owner| it["owner"] == owner))
        .filter(|it| {
            tags.iter().all(|tag| {
                it["tags"].as_array().is_some_and(|tags| tags.iter().any(|it| it == tag))
            })
        })
        .map(shown)
        .collect();
    images.sort_by(|a, b| text(a, "created_at").cmp(text(b, "created_at")));
    state.page(asked, "images", "/v2/images", &images)
}

fn create(state: &mut State, asked: &Asked) -> Reply {
    let Value::Object(given) = asked.body.clone() else {
        return Reply::html(400, "JSON is malformed");
    };
    if let Some(refused) = given.iter().find_map(|(key, value)| refused(key, value)) {
        return refused;
    }
    let id = made(state, text(&asked.body, "name"), Value::Object(given));
    match state.get(Kind::Image, &id) {
        Some(image) => Reply::json(201, &shown(image)),
        None => Reply::html(404, "No image."),
    }
}

fn show(state: &State, id: &str) -> Reply {
    state
        .get(Kind::Image, id)
        .map_or_else(|| Reply::html(404, "No image."), |it| Reply::json(200, &shown(it)))
}

fn upload(state: &mut State, asked: &Asked, id: &str) -> Reply {
    let Some((length, digest)) = asked.upload.clone() else {
        return Reply::html(415, "Unsupported content type.");
    };
    let Some(image) = state.edit(Kind::Image, id) else { return Reply::html(404, "No image.") };
    if image["status"] != "queued" {
        return Reply::html(
            409,
            &format!("Image status transition from {} to saving is not allowed", image["status"]),
        );
    }
    image.insert("status".into(), "saving".into());
    image.insert("size".into(), length.into());
    state.becomes(
        Kind::Image,
        id,
        json!({ "status": "active", "os_hash_algo": "sha512", "os_hash_value": digest }),
    );
    Reply::empty(204)
}

fn patch(state: &mut State, asked: &Asked, id: &str) -> Reply {
    let Some(image) = state.edit(Kind::Image, id) else { return Reply::html(404, "No image.") };
    let mut changed: Map<String, Value> = image.clone();
    for change in asked.body.as_array().into_iter().flatten() {
        let key =
            text(change, "path").trim_start_matches('/').replace("~1", "/").replace("~0", "~");
        if text(change, "op") != "remove"
            && let Some(refused) = refused(&key, &change["value"])
        {
            return refused;
        }
        match text(change, "op") {
            "add" => drop(changed.insert(key, change["value"].clone())),
            "replace" if changed.contains_key(&key) => {
                _ = changed.insert(key, change["value"].clone());
            }
            "remove" if changed.contains_key(&key) => drop(changed.remove(&key)),
            _ => return Reply::html(409, &format!("Property {key} does not exist.")),
        }
    }
    *image = changed;
    show(state, id)
}

/// Without what is ours.
fn shown(image: &Value) -> Value {
    let mut image = image.clone();
    if let Some(it) = image.as_object_mut() {
        it.remove("_members");
    }
    image
}
