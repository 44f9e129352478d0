//! The QEMU Machine Protocol: commands out, replies and events in.
//!
//! See docs/interop/qmp-spec.rst in QEMU's source. One JSON object a line.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::{Mutex, mpsc, oneshot},
};

/// How long QEMU may take to answer; its main loop is never busy for long.
const ANSWER: Duration = Duration::from_secs(30);

/// Why QEMU did not do what it was asked.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum QmpError {
    /// It is gone.
    #[error("QEMU is gone")]
    Gone,
    /// It does not answer.
    #[error("QEMU does not answer `{0}`")]
    NoAnswer(String),
    /// It refused.
    #[error("QEMU refuses `{command}`: {reason}")]
    Refused {
        /// What it was asked.
        command: String,
        /// What it said.
        reason: String,
    },
}

/// An event that QEMU sent.
#[derive(Clone, Debug)]
pub struct QmpEvent {
    /// Its name, such as `SHUTDOWN`.
    pub name: String,
    /// What it says.
    pub data: Value,
}

type Waiting = Rc<RefCell<HashMap<u64, oneshot::Sender<Value>>>>;

/// A conversation with QEMU.
pub struct Qmp {
    writer: Mutex<OwnedWriteHalf>,
    waiting: Waiting,
    next: Cell<u64>,
}

impl Qmp {
    /// Begins the conversation; events come out of the channel.
    pub fn begin(stream: UnixStream) -> (Rc<Self>, mpsc::UnboundedReceiver<QmpEvent>) {
        let (reader, writer) = stream.into_split();
        let waiting = Waiting::default();
        let (sender, events) = mpsc::unbounded_channel();
        let answers = waiting.clone();
        tokio::task::spawn_local(async move {
            let mut lines = BufReader::new(reader).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(mut message) = serde_json::from_str::<Value>(&line) else { continue };
                if let Some(name) = message.get("event").and_then(Value::as_str) {
                    let name = name.to_owned();
                    let data = message.get_mut("data").map(Value::take).unwrap_or_default();
                    _ = sender.send(QmpEvent { name, data });
                } else if let Some(id) = message.get("id").and_then(Value::as_u64)
                    && let Some(answer) = answers.borrow_mut().remove(&id)
                {
                    _ = answer.send(message);
                }
            }
            // Nobody will answer any more.
            answers.borrow_mut().clear();
        });
        let qmp = Self { writer: Mutex::new(writer), waiting, next: Cell::new(1) };
        (Rc::new(qmp), events)
    }

    /// Lets QEMU do something and returns what it answers.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let id = self.next.replace(self.next.get() + 1);
        let (sender, answer) = oneshot::channel();
        self.waiting.borrow_mut().insert(id, sender);
        let mut message = json!({"execute": command, "id": id});
        if !arguments.is_null()
            && let Some(fields) = message.as_object_mut()
        {
            fields.insert("arguments".to_owned(), arguments);
        }
        let line = format!("{message}\n");
        if self.writer.lock().await.write_all(line.as_bytes()).await.is_err() {
            self.waiting.borrow_mut().remove(&id);
            return Err(QmpError::Gone);
        }
        let mut reply = match tokio::time::timeout(ANSWER, answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => return Err(QmpError::Gone),
            Err(_) => {
                self.waiting.borrow_mut().remove(&id);
                return Err(QmpError::NoAnswer(command.to_owned()));
            }
        };
        if let Some(error) = reply.get("error") {
            let reason = error.get("desc").and_then(Value::as_str).unwrap_or("no reason given");
            return Err(QmpError::Refused {
                command: command.to_owned(),
                reason: reason.to_owned(),
            });
        }
        Ok(reply.get_mut("return").map(Value::take).unwrap_or_default())
    }
}
