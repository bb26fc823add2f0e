//! Requests to the hub, and to where it sends us: the token goes to the hub alone, and nothing goes from TLS to a connection without.

use std::thread;
use std::time::{Duration, Instant};

use ureq::http::{Response, Uri, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Error};

use super::Watch;
use super::environment::{AccessToken, Endpoint, Origin};
use crate::error::{ComputeError, HubError, Result};
use crate::files;
use crate::hub::cache;

/// How long a host may take to be found, to accept a connection, and to begin its answer.
const CONNECT_TIME: Duration = Duration::from_secs(10);
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How long nothing may arrive.
const SILENCE: Duration = Duration::from_secs(10);
/// The most addresses that a request is sent on to.
const MOST_REDIRECTS: usize = 8;
/// How often a question is asked that has no answer. The pauses double.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);
/// The largest file of certificates, in bytes.
const LARGEST_CERTIFICATES: u64 = 16 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub enum Fault {
    /// Another try may help.
    Passing(String),
    /// Another try at once does not help.
    Lasting(String),
    /// The answer is none that a hub gives.
    Nonsense(&'static str),
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub enum HubQuestion {
    /// For the headers. The answer may be a redirect to another host.
    Headers,
    /// For the bytes from here to the end.
    BytesFrom(u64),
}

/// The connections to one hub.
pub struct Client {
    agent: Agent,
    endpoint: Endpoint,
    token: Option<AccessToken>,
}

impl Client {
    /// A client with the settings of the environment.
    pub fn from_environment() -> Result<Self> {
        let tls = TlsConfig::builder().root_certs(root_certificates()?).build();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // Followed here, where it is known who gets the token.
            .max_redirects(0)
            .timeout_resolve(Some(CONNECT_TIME))
            .timeout_connect(Some(CONNECT_TIME))
            .timeout_recv_response(Some(ANSWER_TIME))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("lora-slim/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build()
            .into();
        Ok(Self { agent, endpoint: Endpoint::from_environment()?, token: AccessToken::from_environment()? })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Asks the hub at a path, which begins with a slash, again where that may help. `fail` makes an error of the last fault.
    pub fn ask_patiently(
        &self,
        question: HubQuestion,
        path: &str,
        watch: &mut dyn Watch,
        fail: &dyn Fn(Fault) -> HubError,
    ) -> Result<Response<Body>> {
        let mut tries = 1;
        loop {
            let is_last = tries == TRIES;
            match self.ask(question, path) {
                Ok(answer) if is_last || !is_passing(answer.status().as_u16()) => return Ok(answer),
                Ok(_) => {}
                Err(fault) if is_last || !matches!(fault, Fault::Passing(_)) => return Err(fail(fault).into()),
                Err(_) => {}
            }
            pause(tries, watch)?;
            tries += 1;
        }
    }

    /// Asks the hub at a path, which begins with a slash, and follows its redirects.
    pub fn ask(&self, question: HubQuestion, path: &str) -> std::result::Result<Response<Body>, Fault> {
        let mut address = format!("{}{path}", self.endpoint);
        for _ in 0..MOST_REDIRECTS {
            let uri: Uri = address.parse().map_err(|_| Fault::Nonsense("an address that is none"))?;
            let origin = Origin::of(&uri).ok_or(Fault::Nonsense("an address of another protocol"))?;
            if self.endpoint.origin().is_secure() && !origin.is_secure() {
                return Err(Fault::Nonsense("an address without TLS"));
            }
            let is_hub = origin == *self.endpoint.origin();
            let answer = self.send(question, &uri, is_hub)?;
            let Some(next) = redirect(&answer, &uri)? else { return Ok(answer) };
            let stays = |next: &Uri| Origin::of(next).as_ref() == Some(&origin);
            let describes_file = answer.headers().contains_key("x-linked-etag");
            if matches!(question, HubQuestion::Headers) && !stays(&next) && describes_file {
                return Ok(answer);
            }
            address = next.to_string();
        }
        Err(Fault::Nonsense("redirects without an end"))
    }

    fn send(&self, question: HubQuestion, uri: &Uri, is_hub: bool) -> std::result::Result<Response<Body>, Fault> {
        let mut request = match question {
            HubQuestion::Headers => self.agent.head(uri),
            HubQuestion::BytesFrom(_) => self.agent.get(uri),
        };
        request = request.header(header::ACCEPT_ENCODING, "identity");
        if let HubQuestion::BytesFrom(start @ 1..) = question {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        if let Some(token) = self.token.as_ref().filter(|_| is_hub) {
            request = request.header(header::AUTHORIZATION, token.header());
        }
        request.call().map_err(fault)
    }
}

/// Where a redirect leads.
fn redirect(answer: &Response<Body>, from: &Uri) -> std::result::Result<Option<Uri>, Fault> {
    let nonsense = || Fault::Nonsense("a redirect to nowhere");
    if ![301, 302, 303, 307, 308].contains(&answer.status().as_u16()) {
        return Ok(None);
    }
    let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).ok_or_else(nonsense)?;
    let address = match location {
        full if full.contains("://") => full.into(),
        relative if relative.starts_with("//") => format!("{}:{relative}", from.scheme_str().unwrap_or("https")),
        path if path.starts_with('/') => {
            let host = from.authority().map_or("", |authority| authority.as_str());
            format!("{}://{host}{path}", from.scheme_str().unwrap_or("https"))
        }
        _ => return Err(nonsense()),
    };
    address.parse().map(Some).map_err(|_| nonsense())
}

/// Whether a status says that another try may help.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..)
}

/// Waits before the next try. It is an error if the user stops meanwhile.
pub fn pause(tries: u32, watch: &mut dyn Watch) -> Result<()> {
    let end = Instant::now() + PAUSE * 2u32.pow(tries.saturating_sub(1).min(6));
    while Instant::now() < end {
        if watch.is_stopped() {
            return Err(ComputeError::Interrupted.into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// What a failure means, without the address, which may hold a signature.
fn fault(error: Error) -> Fault {
    match error {
        Error::HostNotFound => Fault::Lasting("its name is not found".into()),
        Error::Timeout(_) => Fault::Passing("it does not answer in time".into()),
        Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Fault::Lasting("it refuses the connection".into())
        }
        Error::Io(error) => Fault::Passing(error.to_string()),
        Error::Rustls(error) => Fault::Lasting(format!("TLS: {error}")),
        Error::Tls(reason) => Fault::Lasting(format!("TLS: {reason}")),
        Error::InvalidProxyUrl | Error::ConnectProxyFailed(_) => Fault::Lasting("the proxy does not connect".into()),
        Error::ConnectionFailed => Fault::Passing("the connection fails".into()),
        Error::Protocol(_) => Fault::Passing("its answer is no HTTP".into()),
        _ => Fault::Lasting("the request fails".into()),
    }
}

/// What a failure to read an answer means.
pub fn read_fault(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::TimedOut => "nothing arrives any more".into(),
        std::io::ErrorKind::UnexpectedEof => "the connection was cut".into(),
        _ => error.to_string(),
    }
}

/// The certificates of the file that the environment names, as other clients understand it; else those of Mozilla.
fn root_certificates() -> Result<RootCerts> {
    const VARIABLES: [&str; 3] = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"];
    let named = VARIABLES.into_iter().find_map(|variable| Some((variable, cache::path_of(variable)?)));
    let Some((variable, path)) = named.filter(|(_, path)| path.is_file()) else { return Ok(RootCerts::WebPki) };
    let bytes = files::read_up_to(&path, LARGEST_CERTIFICATES)?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(HubError::Setting { variable, problem: "names a file without certificates" }.into());
    }
    Ok(RootCerts::new_with_certs(&certificates))
}
