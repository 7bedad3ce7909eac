//! Certificates of clients: whether one is asked for, what is verified, and which names it must have.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Go's kinds of client authentication, but for the one that asks for no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authentication {
    /// Asked for, not needed, and believed as it is.
    Request,
    /// Needed, and believed as it is.
    RequireAny,
    /// Not needed, but verified.
    VerifyIfGiven,
    /// Needed and verified.
    RequireAndVerify,
}

/// Says which certificates of clients are good.
pub(super) struct Clients {
    pub(super) authentication: Authentication,
    /// Who may have signed them.
    authorities: Vec<CertificateDer<'static>>,
    /// Follows their signatures; none where there are no authorities.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    /// One of these names must be in them.
    allowed: Option<Vec<String>>,
    provider: Arc<CryptoProvider>,
}

/// No name in a certificate is among those that are allowed.
#[derive(Debug, Error)]
#[error("no name in the client's certificate is in client_allowed_sans")]
struct NotAllowed;

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clients").field(&self.authentication).finish()
    }
}

impl Clients {
    /// A verifier.
    ///
    /// # Errors
    /// When an authority's certificate cannot be used as one.
    pub(super) fn new(
        authentication: Authentication,
        authorities: Vec<CertificateDer<'static>>,
        allowed: Option<Vec<String>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone())?;
        }
        let chains = if roots.is_empty() {
            None
        } else {
            let builder =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            Some(builder.build().map_err(|error| Error::General(error.to_string()))?)
        };
        Ok(Self { authentication, authorities, chains, allowed, provider })
    }

    fn verify_chain(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        // As in Go, a certificate that is itself among the authorities needs no other to vouch for
        // it: that is how one lets a single client in that signed its own.
        if self.authorities.iter().any(|authority| authority == certificate) {
            return is_valid_at(certificate, now);
        }
        let chains = self.chains.as_ref().ok_or(CertificateError::UnknownIssuer)?;
        chains.verify_client_cert(certificate, intermediates, now).map(drop)
    }

    fn verify_names(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let Some(allowed) = &self.allowed else { return Ok(()) };
        let names = names(certificate).map_err(|()| CertificateError::BadEncoding)?;
        if names.iter().any(|name| allowed.contains(name)) {
            return Ok(());
        }
        Err(CertificateError::Other(OtherError(Arc::new(NotAllowed))).into())
    }
}

fn is_valid_at(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let certificate =
        Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = certificate.tbs_certificate().validity();
    let now = Duration::from_secs(now.as_secs());
    if now < validity.not_before.to_unix_duration() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// The subject's alternative names, written as Go writes them.
fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, ()> {
    let certificate = Certificate::from_der(certificate).map_err(drop)?;
    let extension = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let Some((_, SubjectAltName(names))) = extension.map_err(drop)? else { return Ok(Vec::new()) };
    Ok(names.iter().filter_map(text).collect())
}

fn text(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name)
        | GeneralName::Rfc822Name(name)
        | GeneralName::UniformResourceIdentifier(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        use Authentication::{RequireAndVerify, RequireAny};
        matches!(self.authentication, RequireAny | RequireAndVerify)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.as_ref().map_or(&[], |chains| chains.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        use Authentication::{RequireAndVerify, VerifyIfGiven};
        if matches!(self.authentication, VerifyIfGiven | RequireAndVerify) {
            self.verify_chain(end_entity, intermediates, now)?;
        }
        self.verify_names(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn names_of_every_kind_are_written_as_in_go() {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.subject_alt_names.extend([
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::Rfc822Name("a@b.example".try_into().unwrap()),
            SanType::URI("spiffe://a/b".try_into().unwrap()),
        ]);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let expected = ["a.example", "10.0.0.1", "2001:db8::1", "a@b.example", "spiffe://a/b"];
        assert_eq!(names(certificate.der()).unwrap(), expected);
        assert!(names(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }
}
