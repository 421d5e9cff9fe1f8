//! Why a certificate was not accepted, in words that say what to do.

use std::{error::Error, io};

use rustls::CertificateError as Certificate;

/// The reason, when `error` comes of the other side's certificate. Found by type, not by text; an
/// [`io::Error`] hides what it carries from [`Error::source`].
pub(crate) fn refused(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(wrong)) = error.downcast_ref::<rustls::Error>() {
            return Some(format!("{wrong} ({})", remedy(wrong)));
        }
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match carried {
            Some(carried) => Some(carried as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

fn remedy(wrong: &Certificate) -> &'static str {
    match wrong {
        Certificate::Expired
        | Certificate::ExpiredContext { .. }
        | Certificate::NotValidYet
        | Certificate::NotValidYetContext { .. } => "renew it, and look at the clocks of both machines",
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            "call the proxy by a name or address that stands in its certificate"
        }
        _ => {
            "the authority that signed it must stand, in PEM, in the file that connection.ca_file names, or \
             without that key among the system's"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_found_under_what_wraps_it() {
        let wrong = |certificate| rustls::Error::InvalidCertificate(certificate);
        let inner = io::Error::new(io::ErrorKind::InvalidData, wrong(Certificate::UnknownIssuer));
        let wrapped = io::Error::other(inner);
        assert!(refused(&wrapped).is_some_and(|why| why.contains("ca_file")));
        let expired = io::Error::other(wrong(Certificate::Expired));
        assert!(refused(&expired).is_some_and(|why| why.contains("renew it") && !why.contains("ca_file")));
        assert_eq!(refused(&io::Error::other("reset")), None);
        assert_eq!(refused(&io::Error::other(rustls::Error::DecryptError)), None);
    }
}
