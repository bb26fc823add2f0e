//! What the environment says about the hub, in the variables of the hub's own client.

use std::env;
use std::fmt;

use ureq::http::Uri;

use crate::error::{HubError, Result};
use crate::files;
use crate::hub::cache;

/// The hub where nothing names another.
const DEFAULT_HUB: &str = "https://huggingface.co";
/// The most bytes of a file with a token.
const LONGEST_TOKEN: u64 = 4 << 10;

/// Whether the environment forbids connections.
pub fn is_offline() -> bool {
    is_set("HF_HUB_OFFLINE") || is_set("TRANSFORMERS_OFFLINE")
}

fn is_set(variable: &str) -> bool {
    env::var(variable).is_ok_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str()))
}

/// The address of a hub, `https://HOST` with or without a path, and without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    text: String,
    origin: Origin,
}

/// Where requests go: they share a connection, and may share a token, if these agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    is_secure: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an address. `None` without a host, with a user's name before it, and for other protocols.
    pub fn of(uri: &Uri) -> Option<Self> {
        let is_secure = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let port = authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        Some(Self { is_secure, host: authority.host().to_ascii_lowercase(), port })
            .filter(|origin| !origin.host.is_empty())
    }

    pub fn is_secure(&self) -> bool {
        self.is_secure
    }
}

impl Endpoint {
    /// `HF_ENDPOINT`, else that of Hugging Face.
    pub fn from_environment() -> Result<Self> {
        let given = env::var_os("HF_ENDPOINT").filter(|value| !value.is_empty());
        let wrong = |problem| HubError::Setting { variable: "HF_ENDPOINT", problem };
        let text = given.map_or(Ok(DEFAULT_HUB.into()), |value| value.into_string());
        let text = text.map_err(|_| wrong("is not text"))?;
        Ok(Self::parse(&text).ok_or_else(|| wrong("is not the address of a hub, https://HOST"))?)
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim_end_matches('/');
        let uri: Uri = text.parse().ok()?;
        let origin = Origin::of(&uri).filter(|_| uri.query().is_none() && !text.contains('#'))?;
        Some(Self { text: text.into(), origin })
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// What proves to the hub who asks. It is shown nowhere.
#[derive(Clone)]
pub struct AccessToken(String);

impl AccessToken {
    /// `HF_TOKEN`, else the file in which `hf auth login` leaves it.
    pub fn from_environment() -> Result<Option<Self>> {
        if is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return Ok(None);
        }
        let given = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]
            .into_iter()
            .find_map(|name| Some((name, env::var_os(name)?)).filter(|(_, value)| !value.is_empty()));
        let (variable, text) = match given {
            Some((name, value)) => (name, value.to_string_lossy().into_owned()),
            None => {
                let path = cache::path_of("HF_TOKEN_PATH").unwrap_or_else(|| cache::home().join("token"));
                if !path.exists() {
                    return Ok(None);
                }
                ("HF_TOKEN_PATH", files::read_text(&path, LONGEST_TOKEN)?)
            }
        };
        let text = text.trim();
        if !text.chars().all(|character| character.is_ascii_graphic()) {
            return Err(HubError::Setting { variable, problem: "holds what cannot be a token" }.into());
        }
        Ok(Some(Self(text.into())).filter(|_| !text.is_empty()))
    }

    /// The value of the header `Authorization`.
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("AccessToken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_hubs() {
        for good in ["https://huggingface.co", "http://127.0.0.1:8080/", "https://mirror.example/hf"] {
            assert_eq!(Endpoint::parse(good).unwrap().to_string(), good.trim_end_matches('/'));
        }
        for wrong in
            ["", "huggingface.co", "ftp://host", "file:///etc", "https://", "https://me:secret@host", "https://h?x=1"]
        {
            assert_eq!(Endpoint::parse(wrong), None, "{wrong}");
        }
        let origin = |text: &str| Origin::of(&text.parse().unwrap());
        assert_eq!(origin("https://Host/a"), origin("https://host:443/b"));
        assert_ne!(origin("https://host"), origin("http://host"));
        assert_ne!(origin("https://host"), origin("https://host.evil"));
        assert_ne!(origin("https://host"), origin("https://host:8443"));
    }

    #[test]
    fn a_token_is_not_shown() {
        assert_eq!(format!("{:?}", AccessToken("hf_secret".into())), "AccessToken");
    }
}
