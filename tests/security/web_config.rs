//! `--web.config.file`, as a client sees it: TLS, client certificates, users, headers, rate limit,
//! changes while it runs, and that no secret is told to anybody.

use std::fs;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::https::{self, Authority, Client, Identity};
use crate::server::{Launch, Server, wait_until};

const TIMEOUT: Duration = Duration::from_secs(20);

/// The password of `alice` and its hash.
const PASSWORD: &str = "correct horse";
const BASIC: &str = "Authorization: Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==\r\n";
const BASIC_WRONG: &str = "Authorization: Basic YWxpY2U6d3Jvbmc=\r\n";

/// A server with a web config file, and who vouches for it.
struct Rig {
    server: Server,
    authority: Authority,
}

#[expect(clippy::unwrap_used, reason = "helpers of tests")]
impl Rig {
    /// Starts a server whose file is this; `server.pem`, `server.key` and `ca.pem` lie beside it.
    fn start(config: &str) -> Self {
        let authority = Authority::new("test");
        let server = spawn(config, &authority, &[]);
        let address = server.fill("127.0.0.1:{http}");
        let is_there = wait_until(TIMEOUT, || https::connect(&address).is_ok());
        assert!(is_there, "{}", server.output());
        Self { server, authority }
    }

    fn address(&self) -> String {
        self.server.fill("127.0.0.1:{http}")
    }

    fn plain(&self) -> Client {
        Client::plain(&self.address())
    }

    fn client(&self, who: Option<&Identity>) -> Client {
        Client::trusting(&self.address(), &self.authority, who)
    }

    fn write(&self, name: &str, content: &str) {
        // As programs that rotate certificates do it: nobody ever sees half a file.
        let path = self.server.dir.path().join(name);
        let new = path.with_extension("new");
        fs::write(&new, content).unwrap();
        fs::rename(&new, &path).unwrap();
    }

    #[track_caller]
    fn check(&self, client: &Client, headers: &str, status: u16) {
        let found = client.get("/-/healthy", headers);
        assert!(
            found.as_ref().is_ok_and(|answer| answer.status == status),
            "{found:?}\n{}",
            self.server.output()
        );
    }
}

#[expect(clippy::unwrap_used, reason = "helpers of tests")]
fn spawn(config: &str, authority: &Authority, flags: &[&str]) -> Server {
    let identity = authority.sign(&["localhost"]);
    let mut launch = Launch::tallyd(flags);
    launch.flags.push("--web.config.file={tmp}/web.yml".to_owned());
    launch.files = [
        ("web.yml", config.to_owned()),
        ("server.pem", identity.cert),
        ("server.key", identity.key),
        ("ca.pem", authority.pem()),
    ]
    .map(|(name, text)| (name.to_owned(), text.into_bytes()))
    .into();
    Server::spawn(&launch).unwrap()
}

#[track_caller]
fn check_refused(client: &Client) {
    let found = client.get("/-/healthy", "");
    assert!(found.is_err(), "{found:?}");
}

fn users() -> String {
    // Cost 4, the least there is: what is tested is not how long it takes.
    let hash = bcrypt::hash(PASSWORD, 4).unwrap_or_default();
    format!("basic_auth_users:\n  alice: {hash}\n")
}

const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";

#[test]
fn the_page_comes_over_tls_alone() {
    let rig = Rig::start(TLS);
    rig.check(&rig.client(None), "", 200);
    check_refused(&rig.plain());
    check_refused(&Client::trusting(&rig.address(), &Authority::new("other"), None));
    let page = rig.client(None).get("/metrics", "").unwrap().body;
    assert!(page.contains("\ntallyd_web_config_last_reload_successful 1\n"), "{page}");
    assert!(page.contains("\ntallyd_web_config_reload_failures_total 0\n"), "{page}");
}

#[test]
fn certificate_and_key_may_stand_in_the_file() {
    let authority = Authority::new("test");
    let identity = authority.sign(&["localhost"]);
    let indent = |text: &str| text.replace('\n', "\n    ");
    let (cert, key) = (indent(&identity.cert), indent(&identity.key));
    let config = format!("tls_server_config:\n  cert: |\n    {cert}\n  key: |\n    {key}\n");
    let rig = Rig { authority, ..Rig::start(&config) };
    rig.check(&rig.client(None), "", 200);
}

#[test]
fn versions_are_bounded() {
    let only = |rig: &Rig, version| {
        Client::with_versions(&rig.address(), &rig.authority, None, &[version])
    };
    let rig = Rig::start(&format!("{TLS}  min_version: TLS13\n"));
    rig.check(&only(&rig, &rustls::version::TLS13), "", 200);
    check_refused(&only(&rig, &rustls::version::TLS12));
    let suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    let rig = Rig::start(&format!(
        "{TLS}  min_version: TLS10\n  max_version: TLS12\n  cipher_suites: [{suite}]\n  \
         curve_preferences: [CurveP384]\n"
    ));
    rig.check(&only(&rig, &rustls::version::TLS12), "", 200);
    check_refused(&only(&rig, &rustls::version::TLS13));
    assert!(rig.server.output().contains("TLS 1.2 is the least"), "{}", rig.server.output());
}

#[test]
fn clients_show_what_the_file_asks_for() {
    let stranger = Authority::new("other").sign(&["a.example"]);
    let ca = "  client_ca_file: ca.pem\n";
    // The kind, and who is let in: without a certificate, a stranger, somebody known.
    for (kind, ca, nobody, unknown, known) in [
        ("NoClientCert", "", true, true, true),
        ("RequestClientCert", "", true, true, true),
        ("RequireAnyClientCert", "", false, true, true),
        ("VerifyClientCertIfGiven", ca, true, false, true),
        ("RequireAndVerifyClientCert", ca, false, false, true),
    ] {
        let rig = Rig::start(&format!("{TLS}  client_auth_type: {kind}\n{ca}"));
        let friend = rig.authority.sign(&["b.example"]);
        for (who, is_let_in) in [(None, nobody), (Some(&stranger), unknown), (Some(&friend), known)]
        {
            let found = rig.client(who).get("/-/healthy", "");
            assert_eq!(found.is_ok(), is_let_in, "{kind}: {found:?}");
        }
    }
}

#[test]
fn a_clients_certificate_needs_one_of_the_allowed_names() {
    let rig = Rig::start(&format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  \
         client_allowed_sans: [good.example, 10.0.0.1]\n"
    ));
    for (names, is_let_in) in [
        (&["good.example"][..], true),
        (&["bad.example", "10.0.0.1"], true),
        (&["bad.example"], false),
        (&["x.good.example"], false),
        (&[], false),
    ] {
        let client = rig.authority.sign(names);
        let found = rig.client(Some(&client)).get("/-/healthy", "");
        assert_eq!(found.is_ok(), is_let_in, "{names:?}: {found:?}");
    }
}

#[test]
fn a_client_may_be_vouched_for_by_its_own_certificate() {
    let rig = Rig::start(&format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
    ));
    // As `openssl req -x509` makes them, which are authorities as well.
    rig.check(&rig.client(Some(&rig.authority.identity())), "", 200);
    check_refused(&rig.client(Some(&Authority::new("test").identity())));
}

#[test]
fn users_are_let_in_by_their_passwords() {
    let rig = Rig::start(&users());
    let client = rig.plain();
    rig.check(&client, BASIC, 200);
    rig.check(&client, BASIC_WRONG, 401);
    rig.check(&client, "Authorization: Basic Ym9iOmNvcnJlY3QgaG9yc2U=\r\n", 401);
    let answer = client.get("/metrics", "").unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (401, "Unauthorized\n"));
    assert!(answer.head.contains("\r\nwww-authenticate: basic"), "{}", answer.head);
}

#[test]
fn headers_are_added_to_every_answer() {
    let rig = Rig::start(
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 1\n    \
         Content-Security-Policy: default-src 'self'\n",
    );
    for path in ["/metrics", "/", "/nothing"] {
        let head = rig.plain().get(path, "").unwrap().head;
        for header in
            ["x-frame-options: deny", "x-xss-protection: 1", "content-security-policy: default-src"]
        {
            assert!(head.contains(header), "{path}: {head}");
        }
    }
}

#[test]
fn requests_beyond_the_rate_are_refused() {
    let rig = Rig::start("rate_limit:\n  interval: 1h\n  burst: 3\n");
    let statuses: Vec<_> = (0..5).map(|_| rig.plain().get("/", "").unwrap().status).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
}

#[test]
fn a_changed_file_is_followed_and_a_bad_one_is_not() {
    let rig = Rig::start(&format!("{TLS}{}", users()));
    let client = rig.client(None);
    rig.check(&client, BASIC, 200);
    // Another password: the old one is wrong from the next request on, whatever was remembered.
    let hash = bcrypt::hash("wrong", 4).unwrap();
    rig.write("web.yml", &format!("{TLS}basic_auth_users:\n  alice: {hash}\n"));
    rig.check(&client, BASIC, 401);
    rig.check(&client, BASIC_WRONG, 200);
    for bad in ["tls_server_config:\n  cert_fil: x\n", "", TLS, ": :", &users()] {
        rig.write("web.yml", bad);
        rig.check(&client, BASIC_WRONG, 200);
        rig.check(&client, BASIC, 401);
        let page = client.get("/metrics", BASIC_WRONG).unwrap().body;
        assert!(page.contains("\ntallyd_web_config_last_reload_successful 0\n"), "{bad}");
    }
    fs::remove_file(rig.server.dir.path().join("web.yml")).unwrap();
    rig.check(&client, BASIC_WRONG, 200);
    rig.write("web.yml", &format!("{TLS}{}", users()));
    rig.check(&client, BASIC, 200);
    let page = client.get("/metrics", BASIC).unwrap().body;
    assert!(page.contains("\ntallyd_web_config_reload_failures_total 6\n"), "{page}");
    assert!(page.contains("\ntallyd_web_config_last_reload_successful 1\n"), "{page}");
}

#[test]
fn a_new_certificate_is_shown_as_soon_as_its_key_is_there() {
    let rig = Rig::start(TLS);
    let other = Authority::new("other");
    let (old, new) = (rig.client(None), Client::trusting(&rig.address(), &other, None));
    let identity = other.sign(&["localhost"]);
    rig.write("server.pem", &identity.cert);
    // Between the two they do not fit together, and the old pair stays.
    rig.check(&old, "", 200);
    rig.write("server.key", &identity.key);
    rig.check(&new, "", 200);
    check_refused(&old);
}

#[test]
fn tls_that_cannot_be_spoken_is_an_error() {
    let tls = |line: &str| format!("{TLS}  {line}\n");
    let of_all = |line: &str| format!("tls_server_config:\n  {line}\n");
    check_bad(
        &of_all("cert_filse: x"),
        ":2:3: unknown key `cert_filse`; did you mean `cert_file`?",
    );
    check_bad(&of_all("cert_file: server.pem"), "lacks key or key_file");
    check_bad(&of_all("key_file: server.key"), "lacks cert or cert_file");
    check_bad(&of_all("{cert_file: '', key_file: server.key}"), "lacks cert or cert_file");
    check_bad(&of_all("client_auth_type: x"), "lacks cert or cert_file");
    check_bad(
        &of_all("{cert_file: none.pem, key_file: server.key}"),
        ":2:15: cannot read cert_file none.pem: No such file",
    );
    check_bad(
        &of_all("{cert_file: server.key, key_file: server.key}"),
        "cert_file server.key: there is no certificate",
    );
    check_bad(
        &of_all("{cert_file: server.pem, key_file: server.pem}"),
        "key_file server.pem: there is no unencrypted private key",
    );
    check_bad(
        &of_all("{cert_file: ca.pem, key_file: server.key}"),
        "the key does not belong to the certificate",
    );
    check_bad(&tls("cert: x"), "`cert` and `cert_file` exclude each other");
    check_bad(
        &tls("min_version: TLS111"),
        ":4:16: unknown min_version `TLS111`; did you mean `TLS11`?",
    );
    check_bad(&tls("max_version: TLS11"), ":4:16: TLS 1.0 and 1.1 are broken");
    check_bad(&tls("min_version: TLS13\n  max_version: TLS12"), "is lower than");
    check_bad(
        &tls("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048]"),
        "unknown cipher suite",
    );
    check_bad(
        &tls("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]"),
        "none of these is offered; there are TLS_AES_128",
    );
    check_bad(&tls("curve_preferences: [CurveP257]"), "unknown curve `CurveP257`");
    check_bad(&tls("curve_preferences: [CurveP521]"), "none of these is offered; there are X25519");
}

#[test]
fn client_certificates_that_cannot_be_checked_are_an_error() {
    let tls = |line: &str| format!("{TLS}  {line}\n");
    check_bad(&tls("client_auth_type: Maybe"), ":4:21: unknown client_auth_type");
    check_bad(&tls("client_ca_file: ca.pem"), "of no use without client_auth_type");
    check_bad(&tls("client_allowed_sans: [a]"), "of no use without client_auth_type");
    check_bad(
        &tls("client_auth_type: RequestClientCert\n  client_ca_file: server.key"),
        "client_ca_file server.key: there is no certificate",
    );
}

#[test]
fn a_file_that_cannot_be_used_keeps_the_server_from_starting() {
    let header = |line: &str| format!("http_server_config:\n  headers:\n    {line}\n");
    check_bad(&header("Content-Type: foo"), ":3:5: unknown key");
    check_bad(&header("X-Frame-Options: foo"), ":3:22: x-frame-options can be deny or sameorigin");
    check_bad("basic_auth_users:\n  john: doe\n", ":2:9: this is not a bcrypt hash");
    check_bad("rate_limit:\n  interval: soon\n", ":2:13: `interval` is a duration");
    check_bad("rate_limit:\n  burst: -1\n", ":2:10: `burst` is a number");
    check_bad("just words\n", ":1:1: ");
    check_bad("a: b\n", "unknown key; known are tls_server_config");
    let flags = ["--web.config.file={tmp}/none.yml", "--check-config"];
    let (status, output) = end(Server::spawn(&Launch::tallyd(&flags)).unwrap());
    assert!(!status.success() && output.contains("/none.yml"), "{output}");
}

#[test]
fn the_files_of_the_toolkit_are_understood() {
    for config in [
        "",
        "tls_server_config:\n",
        &format!("{TLS}  client_auth_type: VerifyClientCertIfGiven\n"),
        &format!("{TLS}  client_auth_type: RequireClientCert\n"),
        &format!(
            "{TLS}  cipher_suites:\n  - TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\n  - TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA\n  prefer_server_cipher_suites: false\n"
        ),
        &format!("{TLS}  curve_preferences:\n    - CurveP256\n    - CurveP521\n    - X25519\n"),
        &format!("{TLS}http_server_config:\n  http2: false\n"),
        "rate_limit:\n  interval: 0\n  burst: 0\n",
        "rate_limit:\n  interval: \"1s\"\n  burst: 0\n",
        "basic_auth_users:\n  alice: $2y$12$1DpfPeqF9HzHJt.EWswy1exHluGfbhnn3yXhR7Xes6m3WJqFg0Wby\n",
    ] {
        let (status, output) = end_of(config, &["--check-config"]);
        assert!(status.success(), "{config}: {output}");
    }
}

#[test]
fn no_secret_is_told_to_anybody() {
    const SECRET: &str = "hunter2-MIIEvQIBADANBg";
    let pem = format!("-----BEGIN PRIVATE KEY-----\n    {SECRET}\n    -----END PRIVATE KEY-----");
    for config in [
        format!("basic_auth_users: {SECRET}\n"),
        format!("basic_auth_users:\n  alice: {SECRET}\n"),
        format!("basic_auth_users:\n  alice: [{SECRET}]\n"),
        format!("basic_auth_users:\n  alice:\n    {SECRET}: x\n"),
        format!("basic_auth_users:\n  alice: \"{SECRET}\n"),
        format!("basic_auth_users:\n  alice: !{SECRET} x\n"),
        format!("basic_auth_users:\n  alice: *{SECRET}\n"),
        format!("{SECRET}\n"),
        format!("{SECRET}: x\n"),
        format!("tls_server_config: {SECRET}\n"),
        format!("tls_server_config:\n  key: {SECRET}\n  cert_file: server.pem\n"),
        format!("tls_server_config:\n  key: |\n    {pem}\n  cert_file: server.pem\n"),
        format!("tls_server_config:\n  key: {pem}\n  cert_file: server.pem\n"),
        format!("tls_server_config:\n  {SECRET}: key\n"),
        format!("tls_server_config:\n  cert: |\n    {pem}\n  key_file: server.key\n"),
        format!("http_server_config:\n  http2: {SECRET}\n"),
        format!("rate_limit:\n  interval: {SECRET}\n"),
    ] {
        let (status, output) = end_of(&config, &["--log.level=debug", "--check-config"]);
        assert!(!status.success(), "{config}");
        assert!(!output.contains("hunter2"), "{config}: {output}");
    }
    let rig = Rig::start(&format!("{TLS}{}", users()));
    let client = rig.client(None);
    rig.check(&client, BASIC, 200);
    rig.check(&client, BASIC_WRONG, 401);
    rig.write("web.yml", &format!("basic_auth_users:\n  alice: {SECRET}\n"));
    rig.check(&client, BASIC, 200);
    let mut told = rig.server.output();
    for path in ["/", "/metrics", "/api/v1/families", "/nothing"] {
        told += &client.get(path, BASIC).unwrap().body;
    }
    for secret in [PASSWORD, "hunter2", "$2b$", "YWxpY2U6", "PRIVATE"] {
        assert!(!told.contains(secret), "{secret}: {told}");
    }
}

#[test]
fn a_password_flood_does_not_hold_others_up() {
    let slow = bcrypt::hash("something", 12).unwrap();
    let rig = Rig::start(&format!("{}  bob: {slow}\n", users()));
    let client = rig.plain();
    rig.check(&client, BASIC, 200);
    let flood: Vec<_> = (0..100_u32)
        .filter_map(|guess| {
            use std::io::Write as _;
            let mut stream = https::connect(&rig.address()).ok()?;
            // Each another password of `bob`, in base64: `bob:` and nine digits.
            let digits = format!("{:09}", 100_000_000 + guess);
            let credentials = base64_of(&format!("bob:{digits}"));
            let request =
                format!("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n\r\n");
            stream.write_all(request.as_bytes()).ok()?;
            Some(stream)
        })
        .collect();
    assert_eq!(flood.len(), 100);
    let started = Instant::now();
    for _ in 0..5 {
        rig.check(&client, BASIC, 200);
    }
    // A hundred such comparisons take a hundred times a quarter of a second and more.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Checks what is said of a file with which no server starts.
#[track_caller]
fn check_bad(config: &str, expected: &str) {
    let (status, output) = end_of(config, &["--check-config"]);
    let is_named = output.contains("/web.yml:") && output.contains(expected);
    assert!(!status.success() && is_named, "{config}: {output}");
}

/// Runs a server to its end, and returns what it said.
fn end_of(config: &str, flags: &[&str]) -> (ExitStatus, String) {
    end(spawn(config, &Authority::new("test"), flags))
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn end(mut server: Server) -> (ExitStatus, String) {
    let mut status = None;
    wait_until(TIMEOUT, || {
        status = server.child.try_wait().unwrap();
        status.is_some()
    });
    (status.unwrap(), server.output())
}
