//! A small server on the loopback that speaks the Hugging Face Hub's API, and the place that it sends large files' readers to.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::lora_slim;

/// The commit of every repository.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The token that the server knows.
pub const TOKEN: &str = "hf_SecretOfTheTests";

/// Who may read a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Everybody,
    /// Its files only with the token.
    Gated,
    /// As if it were not there, without the token.
    Private,
}

/// What goes wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The connection ends after so many bytes of each answer, so many times.
    Cut { after: usize, times: usize },
    /// After so many bytes nothing comes any more.
    Silence { after: usize },
    /// Ranges are ignored.
    NoRanges,
    /// Other bytes of the same length.
    Damage,
    /// The headers say this.
    Header(&'static str, String),
    /// This status, so many times.
    Status { status: u16, times: usize },
}

#[derive(Debug)]
struct Repository {
    files: BTreeMap<String, Vec<u8>>,
    access: Access,
    commit: String,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whether it came to the place of the large files.
    pub is_large: bool,
    pub method: String,
    pub path: String,
    pub token: Option<String>,
    pub start: usize,
}

#[derive(Debug, Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    renamed: BTreeMap<String, String>,
    troubles: BTreeMap<String, Trouble>,
    requests: Vec<Request>,
    addresses: [String; 2],
}

/// The server, and a cache to fetch into.
pub struct Hub {
    pub folder: TempDir,
    state: Arc<Mutex<State>>,
}

impl Hub {
    pub fn new() -> Self {
        let hub = Self { folder: TempDir::new().unwrap(), state: Arc::default() };
        for place in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            hub.lock().addresses[place] = format!("http://{}", listener.local_addr().unwrap());
            let state = hub.state.clone();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = state.clone();
                    thread::spawn(move || answer(stream, &state, place == 1));
                }
            });
        }
        hub
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Adds a repository with the files of a folder.
    pub fn add(&self, name: &str, folder: &Path) {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let files = files.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
        self.add_files(name, files.collect());
    }

    pub fn add_files(&self, name: &str, files: BTreeMap<String, Vec<u8>>) {
        let repository = Repository { files, access: Access::Everybody, commit: COMMIT.into() };
        self.lock().repositories.insert(name.into(), repository);
    }

    pub fn add_file(&self, name: &str, file: &str, content: &[u8]) {
        self.lock().repositories.get_mut(name).unwrap().files.insert(file.into(), content.into());
    }

    pub fn restrict(&self, name: &str, access: Access) {
        self.lock().repositories.get_mut(name).unwrap().access = access;
    }

    pub fn set_commit(&self, name: &str, commit: &str) {
        self.lock().repositories.get_mut(name).unwrap().commit = commit.into();
    }

    pub fn rename(&self, old: &str, new: &str) {
        self.lock().renamed.insert(old.into(), new.into());
    }

    /// Makes trouble with a file, or with the list of files (`""`).
    pub fn trouble(&self, file: &str, trouble: Trouble) {
        self.lock().troubles.insert(file.into(), trouble);
    }

    pub fn no_trouble(&self) {
        self.lock().troubles.clear();
    }

    /// What was asked since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.lock().requests)
    }

    pub fn address(&self) -> String {
        self.lock().addresses[0].clone()
    }

    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// The variables of the environment that lead to this server.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let home = self.folder.path().join("home").display().to_string();
        vec![
            ("HF_ENDPOINT", self.address()),
            ("HF_HUB_CACHE", self.cache().display().to_string()),
            ("HF_HOME", home),
            ("HF_HUB_OFFLINE", String::new()),
            ("HF_TOKEN", String::new()),
            ("NO_PROXY", "*".into()),
        ]
    }

    /// The program with this server as the hub, in the folder.
    pub fn lora_slim(&self) -> Command {
        let mut command = lora_slim();
        command.envs(self.environment()).current_dir(self.folder.path());
        command
    }
}

/// Answers the requests of a connection.
fn answer(stream: TcpStream, state: &Mutex<State>, is_large: bool) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read_request(&mut reader, is_large) {
        state.lock().unwrap().requests.push(request.clone());
        let response = state.lock().unwrap().respond(&request);
        if response.send(&stream, request.method == "HEAD").is_none() {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead, is_large: bool) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
    let (mut token, mut start) = (None, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "authorization" => token = Some(value.to_string()),
            "range" => start = value.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap(),
            _ => {}
        }
    }
    Some(Request { is_large, method, path, token, start })
}

#[derive(Debug, Default)]
struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// How many bytes of the body go out, and what happens then.
    end: Option<(usize, bool)>,
}

impl Response {
    fn of(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    fn error(status: u16, code: &str) -> Self {
        Self::of(status).header("X-Error-Code", code)
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
        self
    }

    /// `None` if the connection is to end.
    fn send(self, mut stream: &TcpStream, is_head: bool) -> Option<()> {
        let mut head = format!("HTTP/1.1 {} Status\r\n", self.status);
        if !self.headers.iter().any(|(name, _)| name == "Content-Length") {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        self.headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        stream.write_all((head + "\r\n").as_bytes()).ok()?;
        if is_head {
            return Some(());
        }
        let Some((after, is_silent)) = self.end else { return stream.write_all(&self.body).ok() };
        stream.write_all(&self.body[..after.min(self.body.len())]).ok()?;
        if is_silent {
            thread::sleep(Duration::from_secs(60));
        }
        None
    }
}

impl State {
    fn respond(&mut self, request: &Request) -> Response {
        let (path, _) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (name, rest) = match parts.as_slice() {
            ["api", "models", organisation, name, rest @ ..] => {
                (format!("{organisation}/{name}"), ["list"].iter().chain(rest).copied().collect())
            }
            [organisation, name, rest @ ..] => (format!("{organisation}/{name}"), rest.to_vec()),
            _ => return Response::error(404, "RepoNotFound"),
        };
        if let Some(new) = self.renamed.get(&name) {
            return Response::of(307).header("Location", &request.path.replacen(&name, new, 1));
        }
        let has_token = request.token.as_deref() == Some(&format!("Bearer {TOKEN}"));
        if request.token.is_some() && !has_token && !request.is_large {
            return Response::of(401);
        }
        let Some(repository) = self.repositories.get(&name) else { return Response::error(401, "RepoNotFound") };
        if repository.access == Access::Private && !has_token && !request.is_large {
            return Response::error(if request.token.is_some() { 404 } else { 401 }, "RepoNotFound");
        }
        match rest.as_slice() {
            ["list", "revision", "main" | "v1" | "refs%2Fpr%2F1" | COMMIT] => {
                let body = list(repository).to_string().into_bytes();
                self.troubled("", Response { status: 200, body, ..Response::default() })
            }
            ["list", "revision", _] => Response::error(404, "RevisionNotFound"),
            ["resolve", COMMIT, ..] if repository.access == Access::Gated && !has_token && !request.is_large => {
                Response::error(if request.token.is_some() { 403 } else { 401 }, "GatedRepo")
            }
            ["resolve", COMMIT, file @ ..] => self.file(&name, &file.join("/"), request),
            _ => Response::error(404, "RevisionNotFound"),
        }
    }

    fn file(&mut self, name: &str, file: &str, request: &Request) -> Response {
        let Some(content) = self.repositories[name].files.get(file) else {
            return Response::error(404, "EntryNotFound");
        };
        let hash = lora_slim::files::sha256_of(content);
        let is_large = is_large(file);
        if is_large && !request.is_large {
            let place = format!("{}{}", self.addresses[1], request.path);
            let response = Response::of(302).header("Location", &place);
            let response = response.header("X-Linked-Etag", &format!("\"{hash}\""));
            let response = response.header("X-Linked-Size", &content.len().to_string());
            return match self.troubles.get(file) {
                Some(Trouble::Header(name, value)) => response.header(name, value),
                _ => response,
            };
        }
        let start = if self.troubles.get(file) == Some(&Trouble::NoRanges) { 0 } else { request.start };
        if start > content.len() {
            return Response::of(416);
        }
        let response = Response { status: 200, body: content[start..].to_vec(), ..Response::default() };
        let response = response.header("ETag", &format!("\"{}\"", if is_large { "other" } else { &hash[..40] }));
        let response = match start {
            0 => response,
            _ => {
                let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
                Response { status: 206, ..response.header("Content-Range", &range) }
            }
        };
        if request.method == "HEAD" {
            let length = content.len().to_string();
            let response = response.header("Content-Length", &length);
            return match self.troubles.get(file) {
                Some(Trouble::Header(name, value)) => response.header(name, value),
                _ => response,
            };
        }
        self.troubled(file, response)
    }

    fn troubled(&mut self, file: &str, response: Response) -> Response {
        match self.troubles.get_mut(file) {
            Some(Trouble::Cut { after, times }) if *times > 0 => {
                *times -= 1;
                Response { end: Some((*after, false)), ..response }
            }
            Some(Trouble::Silence { after }) => Response { end: Some((*after, true)), ..response },
            Some(Trouble::Damage) => {
                let body = response.body.iter().map(|byte| byte ^ 1).collect();
                Response { body, ..response }
            }
            Some(Trouble::Header(name, value)) => response.header(name, value),
            Some(Trouble::Status { status, times }) if *times > 0 => {
                *times -= 1;
                Response::of(*status)
            }
            _ => response,
        }
    }
}

/// Whether a file lies elsewhere, as those of Git LFS do.
fn is_large(file: &str) -> bool {
    [".safetensors", ".bin", ".gguf"].iter().any(|ending| file.ends_with(ending))
}

fn list(repository: &Repository) -> Value {
    let files = repository.files.iter().map(|(name, content)| json!({"rfilename": name, "size": content.len()}));
    json!({"id": "x/y", "sha": repository.commit, "gated": false, "siblings": files.collect::<Vec<_>>()})
}
