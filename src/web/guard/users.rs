//! `basic_auth_users`: names and bcrypt hashes, and who has shown to know a password.
//!
//! A comparison takes some 50 ms of CPU on purpose. One is made at a time, on a thread that yields
//! to the lanes, so that a flood of passwords costs at most one core's spare time; what it found is
//! remembered. Those who were right are remembered apart from those who were wrong, so that no flood
//! can make the server forget Prometheus, which then never waits behind it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lru::LruCache;
use parking_lot::Mutex;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

/// As many verdicts as the toolkit keeps.
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99);

/// More requests than this do not wait for their passwords to be compared.
const MAX_WAITING: usize = 64;

/// A hash of nobody's password, without its cost: what unknown users are compared with, so that
/// time does not tell which names exist.
const NOBODY: &str = "$abcdefghijklmnopqrstuu37RkUr9H1EPO4Rc63Ngz60LSVREthYa";

/// Names and hashes.
#[derive(Debug)]
pub(super) struct Users {
    hashes: BTreeMap<String, Hash>,
    nobody: String,
}

/// A bcrypt hash, checked.
pub(super) struct Hash {
    text: String,
    cost: u32,
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

impl Hash {
    /// Reads a hash; `None` when it is none of bcrypt's.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts: bcrypt::HashParts = text.parse().ok()?;
        let is_cost_allowed = (4..=31).contains(&parts.get_cost());
        is_cost_allowed.then(|| Self { text: text.to_owned(), cost: parts.get_cost() })
    }
}

impl Users {
    /// Those who are let in.
    pub(super) fn new(hashes: BTreeMap<String, Hash>) -> Self {
        let cost = hashes.values().map(|hash| hash.cost).max().unwrap_or(10);
        Self { hashes, nobody: format!("$2y${cost:02}{NOBODY}") }
    }
}

/// What a client says who it is.
pub(super) struct Attempt {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl Attempt {
    /// Reads the header of basic authentication.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, credentials) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let mut user = STANDARD.decode(credentials).ok()?;
        let colon = memchr::memchr(b':', &user)?;
        let password = user.split_off(colon + 1);
        user.truncate(colon);
        Some(Self { user, password })
    }
}

/// Too many wait for their passwords to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overrun;

/// What comparisons have found, kept as keyed digests of user, hash and password together.
#[derive(Debug)]
pub(super) struct Verdicts {
    key: Option<hmac::Key>,
    right: Mutex<LruCache<Digest, ()>>,
    wrong: Mutex<LruCache<Digest, ()>>,
    turn: Arc<Semaphore>,
    waiting: Semaphore,
}

type Digest = [u8; 32];

impl Verdicts {
    /// Nothing is remembered yet. Without random numbers for a key, nothing ever will be.
    pub(super) fn new() -> Self {
        Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok(),
            right: Mutex::new(LruCache::new(REMEMBERED)),
            wrong: Mutex::new(LruCache::new(REMEMBERED)),
            turn: Arc::new(Semaphore::new(1)),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }

    /// Whether this is one of the users.
    pub(super) async fn judge(&self, users: &Users, attempt: Attempt) -> Result<bool, Overrun> {
        let Attempt { user, password } = attempt;
        let known = std::str::from_utf8(&user).ok().and_then(|user| users.hashes.get(user));
        let hash = known.map_or_else(|| users.nobody.clone(), |hash| hash.text.clone());
        let digest = self.digest(&[&user, hash.as_bytes(), &password]);
        if let Some(verdict) = self.recall(digest.as_ref()) {
            return Ok(verdict);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| Overrun)?;
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| Overrun)?;
        // Somebody with the same password may have been before us.
        if let Some(verdict) = self.recall(digest.as_ref()) {
            return Ok(verdict);
        }
        let compare = move || {
            // The turn ends with the work, even if the client has gone meanwhile.
            let _turn = turn;
            bcrypt::verify(password, &hash).unwrap_or(false)
        };
        let is_right = tokio::task::spawn_blocking(compare).await.unwrap_or(false);
        let verdict = is_right && known.is_some();
        if let Some(digest) = digest {
            let remembered = if verdict { &self.right } else { &self.wrong };
            remembered.lock().put(digest, ());
        }
        Ok(verdict)
    }

    fn recall(&self, digest: Option<&Digest>) -> Option<bool> {
        let digest = digest?;
        if self.right.lock().get(digest).is_some() {
            return Some(true);
        }
        self.wrong.lock().get(digest).map(|()| false)
    }

    /// Each part with its length before it, so that no two attempts have the same text.
    fn digest(&self, parts: &[&[u8]; 3]) -> Option<Digest> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        context.sign().as_ref().try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_hash_is_bcrypts_or_none() {
        let hash = bcrypt::hash("p", 4).unwrap();
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            assert!(Hash::parse(&hash.replacen("$2b$", prefix, 1)).is_some(), "{prefix}");
        }
        for text in ["", "doe", "$2y$04$short", "$1$abc$def", &hash.replacen("$04$", "$40$", 1)] {
            assert!(Hash::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_hash_of_nobody_can_be_compared_with() {
        let users = Users::new(BTreeMap::new());
        assert!(Hash::parse(&users.nobody).is_some_and(|hash| hash.cost == 10));
    }

    #[tokio::test]
    async fn a_user_is_let_in_with_the_right_password_alone() {
        let verdicts = Verdicts::new();
        for _again in 0..2 {
            check(&verdicts, b"alice:secret", true).await;
            check(&verdicts, b"alice:Secret", false).await;
            check(&verdicts, b"alice:", false).await;
            check(&verdicts, b"bob:secret", false).await;
            check(&verdicts, b"alice:secret:x", false).await;
            check(&verdicts, b"\xff:secret", false).await;
        }
        assert_eq!((verdicts.right.lock().len(), verdicts.wrong.lock().len()), (1, 5));
    }

    #[tokio::test]
    async fn a_flood_of_wrong_passwords_makes_nobody_else_wait() {
        let verdicts = Verdicts::new();
        check(&verdicts, b"alice:secret", true).await;
        let _turn = verdicts.turn.acquire().await.unwrap();
        let _waiting = verdicts.waiting.acquire_many(64).await.unwrap();
        check(&verdicts, b"alice:secret", true).await;
        let other = attempt(b"alice:guess").unwrap();
        assert_eq!(verdicts.judge(&users(), other).await, Err(Overrun));
    }

    #[test]
    fn what_is_not_basic_authentication_is_no_attempt() {
        let read = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            Attempt::of(&headers).map(|attempt| attempt.user)
        };
        assert_eq!(read("Basic YTpi"), Some(b"a".to_vec()));
        assert_eq!(read("bASIC YTpi"), Some(b"a".to_vec()));
        for value in ["Bearer YTpi", "Basic", "Basic ???", "Basic YQ==", ""] {
            assert_eq!(read(value), None, "{value}");
        }
    }

    fn users() -> Users {
        // A fixed salt, because what is remembered belongs to one hash.
        let hash = bcrypt::hash_with_salt("secret", 4, [7; 16]).unwrap().to_string();
        Users::new(BTreeMap::from([("alice".to_owned(), Hash::parse(&hash).unwrap())]))
    }

    fn attempt(credentials: &[u8]) -> Option<Attempt> {
        let mut headers = HeaderMap::new();
        let value = format!("Basic {}", STANDARD.encode(credentials));
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
        Attempt::of(&headers)
    }

    async fn check(verdicts: &Verdicts, credentials: &[u8], expected: bool) {
        let found = verdicts.judge(&users(), attempt(credentials).unwrap()).await;
        assert_eq!(found, Ok(expected), "{}", String::from_utf8_lossy(credentials));
    }
}
