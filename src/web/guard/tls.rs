//! `tls_server_config`: certificates, and what a handshake may agree on.

use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoClientAuth;
use rustls::server::danger::ClientCertVerifier;
use rustls::{Error, ServerConfig};
use serde_saphyr::Spanned;
use tokio_rustls::TlsAcceptor;

use super::ciphers;
use super::clients::{Authentication, Clients};
use super::file::{Fault, RawTls, Secret, unknown};

/// The words for what a client must show; the last is an old one for `RequireAnyClientCert`.
const AUTHENTICATIONS: [(&str, Option<Authentication>); 6] = [
    ("NoClientCert", None),
    ("RequestClientCert", Some(Authentication::Request)),
    ("RequireAnyClientCert", Some(Authentication::RequireAny)),
    ("VerifyClientCertIfGiven", Some(Authentication::VerifyIfGiven)),
    ("RequireAndVerifyClientCert", Some(Authentication::RequireAndVerify)),
    ("RequireClientCert", Some(Authentication::RequireAny)),
];

/// Text in PEM, and where it came from.
struct Pem {
    bytes: Vec<u8>,
    /// `cert_file server.crt`, or `cert` where it stands in the file itself.
    name: String,
    place: Fault,
}

impl Pem {
    fn fault(&self, problem: &str) -> Fault {
        Fault { problem: format!("{}: {problem}", self.name), ..self.place.clone() }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Fault> {
        let certificates =
            CertificateDer::pem_slice_iter(&self.bytes).collect::<Result<Vec<_>, _>>();
        // What is wrong with PEM is told by quoting it.
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err(self.fault("there is no certificate in PEM in it")),
        }
    }
}

/// What a handshake needs, or `None` where no key in the file means TLS.
///
/// `read` reads a file by a path relative to the one that names it.
pub(super) fn acceptor(
    raw: &RawTls,
    is_http2: bool,
    mut read: impl FnMut(&str) -> io::Result<Vec<u8>>,
    warnings: &mut Vec<String>,
) -> Result<Option<TlsAcceptor>, Fault> {
    let cert = pem(("cert", &raw.cert), ("cert_file", &raw.cert_file), &mut read)?;
    let key = pem(("key", &raw.key), ("key_file", &raw.key_file), &mut read)?;
    let ca =
        pem(("client_ca", &raw.client_ca), ("client_ca_file", &raw.client_ca_file), &mut read)?;
    let authentication = raw.client_auth_type.as_ref().filter(|word| !word.value.is_empty());
    let (cert, key) = match (cert, key) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) if ca.is_none() && authentication.is_none() => {
            warnings.push(
                "tls_server_config names no certificate, so HTTP is spoken without TLS".to_owned(),
            );
            return Ok(None);
        }
        (None, _) => return Err(Fault::of_all("tls_server_config lacks cert or cert_file")),
        (_, None) => return Err(Fault::of_all("tls_server_config lacks key or key_file")),
    };
    let versions = ciphers::versions(raw, warnings)?;
    let provider = Arc::new(ciphers::provider(raw, warnings)?);
    let clients = clients(raw, ca.as_ref(), &provider, warnings)?;
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions);
    let builder = builder.map_err(|error| Fault::of_all(format!("tls_server_config: {error}")))?;
    let private = PrivateKeyDer::from_pem_slice(&key.bytes)
        .map_err(|_| key.fault("there is no unencrypted private key in PEM in it"))?;
    let config = builder.with_client_cert_verifier(clients);
    let config = config.with_single_cert(cert.certificates()?, private);
    let mut config = config.map_err(|error| match error {
        Error::InconsistentKeys(_) => key.fault("the key does not belong to the certificate"),
        _ => key.fault("the key or the certificate is of no kind that is supported"),
    })?;
    config.ignore_client_order = raw.prefer_server_cipher_suites.unwrap_or(true);
    let protocols: &[&[u8]] = if is_http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn clients(
    raw: &RawTls,
    ca: Option<&Pem>,
    provider: &Arc<CryptoProvider>,
    warnings: &mut Vec<String>,
) -> Result<Arc<dyn ClientCertVerifier>, Fault> {
    use Authentication::{RequireAndVerify, VerifyIfGiven};
    let word = raw.client_auth_type.as_ref().filter(|word| !word.value.is_empty());
    let authentication = match word {
        None => None,
        Some(word) => {
            let known = AUTHENTICATIONS.iter().find(|(known, _)| *known == word.value);
            let names = AUTHENTICATIONS.map(|(name, _)| name);
            known
                .map(|(_, meaning)| *meaning)
                .ok_or_else(|| Fault::at(word, unknown("client_auth_type", &word.value, &names)))?
        }
    };
    let allowed = raw.client_allowed_sans.as_ref();
    let Some(authentication) = authentication else {
        if let Some(ca) = ca {
            return Err(ca.fault("it is of no use without client_auth_type"));
        }
        if let Some(allowed) = allowed {
            let problem = "client_allowed_sans is of no use without client_auth_type";
            return Err(Fault::at(allowed, problem));
        }
        return Ok(Arc::new(NoClientAuth));
    };
    let is_verified = matches!(authentication, VerifyIfGiven | RequireAndVerify);
    if !is_verified {
        warnings.push("client_auth_type: clients' certificates are not verified".to_owned());
    }
    let authorities = match ca {
        Some(ca) => ca.certificates()?,
        None if is_verified => {
            warnings.push(
                "client_auth_type: without client_ca or client_ca_file everybody is let in whom a \
                 certificate authority of this machine vouches for"
                    .to_owned(),
            );
            rustls_native_certs::load_native_certs().certs
        }
        None => Vec::new(),
    };
    let allowed = allowed.map(|allowed| allowed.value.clone());
    let clients = Clients::new(authentication, authorities, allowed, Arc::clone(provider));
    let clients = clients.map_err(|error| {
        let problem = format!("it cannot be used as a certificate authority: {error}");
        ca.map_or_else(|| Fault::of_all(problem.clone()), |ca| ca.fault(&problem))
    })?;
    Ok(Arc::new(clients))
}

/// The text that one of two keys gives; both together are an error.
fn pem(
    inline: (&str, &Option<Spanned<Secret>>),
    file: (&str, &Option<Spanned<String>>),
    read: &mut impl FnMut(&str) -> io::Result<Vec<u8>>,
) -> Result<Option<Pem>, Fault> {
    let text = inline.1.as_ref().filter(|text| !text.value.0.is_empty());
    let path = file.1.as_ref().filter(|path| !path.value.is_empty());
    match (text, path) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some(Pem {
            bytes: text.value.0.clone().into_bytes(),
            name: inline.0.to_owned(),
            place: Fault::at(text, ""),
        })),
        (None, Some(path)) => {
            let name = format!("{} {}", file.0, path.value);
            let bytes = read(&path.value)
                .map_err(|error| Fault::at(path, format!("cannot read {name}: {error}")))?;
            Ok(Some(Pem { bytes, name, place: Fault::at(path, "") }))
        }
        (Some(_), Some(path)) => {
            let problem = format!("`{}` and `{}` exclude each other", inline.0, file.0);
            Err(Fault::at(path, problem))
        }
    }
}
