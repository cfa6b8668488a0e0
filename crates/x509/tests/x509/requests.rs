//! Requests, good and hostile.

use crate::{der, keys::TestKey};
use clm_types::{ErrorCode, KeyAlgorithm};
use clm_x509::{Csr, San};

const SAN: &str = "551d11";
const BASIC_CONSTRAINTS: &str = "551d13";
const NAME_CONSTRAINTS: &str = "551d1e";
const EXTENSION_REQUEST: &str = "2a864886f70d01090e";
const CHALLENGE_PASSWORD: &str = "2a864886f70d010907";
const P256_KEY: &str = "301306072a8648ce3d020106082a8648ce3d030107";
const RSA_KEY: &str = "300d06092a864886f70d0101010500";

/// The parts of a request, to be bent one at a time.
struct Draft {
    version: Vec<u8>,
    subject: Vec<u8>,
    spki: Option<Vec<u8>>,
    attributes: Option<Vec<u8>>,
}

impl Draft {
    fn new() -> Self {
        Self {
            version: vec![2, 1, 0],
            subject: name(0x0c, b"www.example.com"),
            spki: None,
            attributes: Some(attributes(&[&names(&[(0x82, b"www.example.com")])])),
        }
    }

    fn subject(subject: Vec<u8>) -> Self {
        Self { subject, ..Self::new() }
    }

    fn spki(spki: Vec<u8>) -> Self {
        Self { spki: Some(spki), ..Self::new() }
    }

    fn extensions(extensions: &[&[u8]]) -> Self {
        Self { attributes: Some(attributes(extensions)), ..Self::new() }
    }

    fn names(list: &[(u8, &[u8])]) -> Self {
        Self::extensions(&[&names(list)])
    }

    fn raw_attributes(attributes: &[&[u8]]) -> Self {
        Self { attributes: Some(der::value(0xa0, attributes)), ..Self::new() }
    }

    fn sign(&self, key: &TestKey) -> Vec<u8> {
        let own = key.public_key();
        let spki = self.spki.as_deref().unwrap_or(own.spki_der());
        let attributes = self.attributes.as_deref().unwrap_or_default();
        key.request(&der::sequence(&[&self.version, &self.subject, spki, attributes]))
    }
}

/// A name that is one common name, in a string of this type.
fn name(string: u8, value: &[u8]) -> Vec<u8> {
    let pair = der::sequence(&[&der::oid("550403"), &der::value(string, &[value])]);
    der::sequence(&[&der::value(0x31, &[&pair])])
}

fn names(list: &[(u8, &[u8])]) -> Vec<u8> {
    let values: Vec<Vec<u8>> = list.iter().map(|(tag, text)| der::value(*tag, &[text])).collect();
    der::extension(SAN, &der::sequence(&[&values.concat()]))
}

fn attribute(oid: &str, values: &[&[u8]]) -> Vec<u8> {
    der::sequence(&[&der::oid(oid), &der::value(0x31, values)])
}

fn attributes(extensions: &[&[u8]]) -> Vec<u8> {
    der::value(0xa0, &[&attribute(EXTENSION_REQUEST, &[&der::sequence(extensions)])])
}

fn spki(algorithm: &str, key: &[u8]) -> Vec<u8> {
    der::sequence(&[&hex::decode(algorithm).unwrap(), &der::bits(key)])
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let key = der::sequence(&[&der::value(2, &[&[0], modulus]), &der::value(2, &[exponent])]);
    spki(RSA_KEY, &key)
}

/// A modulus of so many octets that no small prime divides: odd, top bit set. Not a product of two primes.
fn modulus(octets: usize) -> Vec<u8> {
    let own = TestKey::generate(KeyAlgorithm::Rsa2048).public_key();
    let mut modulus = own.key_octets()[9..9 + 256].to_vec();
    modulus.resize(octets, 0x01);
    modulus
}

fn outcome(octets: &[u8]) -> Result<(), ErrorCode> {
    Csr::parse(octets).and_then(|csr| csr.verify()).map_err(|refusal| refusal.code)
}

#[test]
fn a_request_is_read_with_its_names_and_key() {
    for algorithm in KeyAlgorithm::ALL {
        let key = TestKey::generate(*algorithm);
        let draft = Draft::names(&[
            (0x82, b"WWW.example.com"),
            (0x82, b"*.example.com"),
            (0x87, &[192, 0, 2, 1]),
            (0x87, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            (0x81, b"a@example.com"),
            (0x86, b"spiffe://example.com/a"),
            (0x82, b"www.example.com"),
        ]);
        let octets = draft.sign(&key);
        let csr = Csr::parse(&octets).unwrap();
        csr.verify().unwrap();
        assert_eq!(csr.der(), octets);
        assert_eq!(csr.subject().to_string(), "CN=www.example.com");
        assert_eq!(csr.public_key(), &key.public_key());
        let shown: Vec<String> = csr.names().iter().map(San::to_string).collect();
        assert_eq!(
            shown,
            [
                "dns:www.example.com",
                "dns:*.example.com",
                "ip:192.0.2.1",
                "ip:2001:db8::1",
                "email:a@example.com",
                "uri:spiffe://example.com/a"
            ]
        );
        assert_eq!(Csr::parse(csr.pem().as_bytes()).unwrap(), csr);
    }
}

#[test]
fn a_request_without_attributes_is_read() {
    let key = TestKey::p256();
    for attributes in [None, Some(der::value(0xa0, &[]))] {
        let octets = Draft { attributes, ..Draft::new() }.sign(&key);
        assert_eq!(outcome(&octets), Ok(()));
        assert!(Csr::parse(&octets).unwrap().names().is_empty());
    }
}

#[test]
fn what_does_not_matter_to_the_certificate_is_passed_over() {
    let password = attribute(CHALLENGE_PASSWORD, &[&der::value(0x0c, &[b"secret"])]);
    let octets = Draft::raw_attributes(&[&password]).sign(&TestKey::p256());
    assert_eq!(outcome(&octets), Ok(()));
    assert_eq!(outcome(&Draft::subject(name(0x13, b"Some Host")).sign(&TestKey::p256())), Ok(()));
    assert_eq!(outcome(&Draft::subject(der::sequence(&[])).sign(&TestKey::p256())), Ok(()));
    let leaf = der::extension(BASIC_CONSTRAINTS, &der::sequence(&[]));
    assert_eq!(outcome(&Draft::extensions(&[&leaf]).sign(&TestKey::p256())), Ok(()));
}

#[test]
fn every_truncation_of_a_request_is_malformed() {
    let octets = Draft::new().sign(&TestKey::p256());
    for length in 1..octets.len() {
        assert_eq!(outcome(&octets[..length]), Err(ErrorCode::CsrMalformed), "{length}");
    }
}

#[test]
fn requests_that_are_none_are_refused() {
    let key = TestKey::p256();
    let good = Draft::new().sign(&key);
    let csr = Csr::parse(&good).unwrap();
    let bent = Draft { version: vec![2, 1, 1], ..Draft::new() }.sign(&key);
    let indefinite = [&[0x30, 0x80][..], &good[4..], &[0, 0]].concat();
    let no_value = Draft::raw_attributes(&[&attribute(EXTENSION_REQUEST, &[])]).sign(&key);
    let empty_list = Draft::extensions(&[]).sign(&key);
    let pem = csr.pem();
    for (what, octets, code) in [
        ("nothing", Vec::new(), ErrorCode::CsrMalformed),
        ("text", b"hello".to_vec(), ErrorCode::CsrMalformed),
        ("another version", bent, ErrorCode::CsrMalformed),
        ("indefinite length", indefinite, ErrorCode::CsrMalformed),
        ("attribute without value", no_value, ErrorCode::CsrMalformed),
        ("empty extension list", empty_list, ErrorCode::CsrMalformed),
        (
            "another PEM label",
            pem.replace("CERTIFICATE REQUEST", "PRIVATE KEY").into_bytes(),
            ErrorCode::CsrMalformed,
        ),
        ("broken base64", pem.replace('M', "*").into_bytes(), ErrorCode::CsrMalformed),
        ("octets after it", [&good[..], &[0]].concat(), ErrorCode::CsrTrailingData),
        ("text after it", format!("{pem}more").into_bytes(), ErrorCode::CsrTrailingData),
        ("two of them", format!("{pem}{pem}").into_bytes(), ErrorCode::CsrTrailingData),
        ("too large", vec![0x30; 64 * 1024 + 1], ErrorCode::CsrTooLarge),
    ] {
        assert_eq!(outcome(&octets), Err(code), "{what}");
    }
}

#[test]
fn a_signature_by_another_key_or_algorithm_is_refused() {
    let (key, other) = (TestKey::p256(), TestKey::p256());
    let stolen = Draft::spki(key.public_key().spki_der().to_vec()).sign(&other);
    assert_eq!(outcome(&stolen), Err(ErrorCode::CsrSignatureInvalid));
    let mut flipped = Draft::new().sign(&key);
    let position = flipped.windows(15).position(|w| w == b"www.example.com").unwrap();
    flipped[position] = b'v';
    assert_eq!(outcome(&flipped), Err(ErrorCode::CsrSignatureInvalid));
    let ed25519 = TestKey::generate(KeyAlgorithm::Ed25519);
    let mixed = Draft::spki(key.public_key().spki_der().to_vec()).sign(&ed25519);
    assert_eq!(outcome(&mixed), Err(ErrorCode::CsrSignatureAlgorithmUnsupported));
}

#[test]
fn extensions_and_attributes_that_may_not_be_asked_for_are_refused() {
    let key = TestKey::p256();
    let ca = der::extension(BASIC_CONSTRAINTS, &der::sequence(&[&[1, 1, 0xff]]));
    let path = der::extension(BASIC_CONSTRAINTS, &der::sequence(&[&[2, 1, 0]]));
    let loose = der::extension(BASIC_CONSTRAINTS, &der::sequence(&[&[1, 1, 1]]));
    let constraints = der::extension(NAME_CONSTRAINTS, &der::sequence(&[]));
    let san = names(&[(0x82, b"a.example")]);
    let request = attribute(EXTENSION_REQUEST, &[&der::sequence(&[&san])]);
    let password = attribute(CHALLENGE_PASSWORD, &[&der::value(0x0c, &[b"x"])]);
    let unknown = attribute("2a03", &[&[5, 0]]);
    let list = der::sequence(&[&san]);
    let twice = attribute(EXTENSION_REQUEST, &[&list, &list]);
    for (what, draft, code) in [
        ("CA:TRUE", Draft::extensions(&[&ca]), ErrorCode::CsrCaTrue),
        ("path length", Draft::extensions(&[&path]), ErrorCode::CsrCaTrue),
        ("BOOLEAN 1", Draft::extensions(&[&loose]), ErrorCode::CsrMalformed),
        ("name constraints", Draft::extensions(&[&constraints]), ErrorCode::CsrExtensionForbidden),
        ("two SAN extensions", Draft::extensions(&[&san, &san]), ErrorCode::CsrDuplicateExtension),
        (
            "two extension requests",
            Draft::raw_attributes(&[&request, &request]),
            ErrorCode::CsrDuplicateAttribute,
        ),
        ("two passwords", Draft::raw_attributes(&[&password, &password]), ErrorCode::CsrDuplicateAttribute),
        ("two values", Draft::raw_attributes(&[&twice]), ErrorCode::CsrDuplicateAttribute),
        ("unknown attribute", Draft::raw_attributes(&[&unknown]), ErrorCode::CsrAttributeForbidden),
    ] {
        assert_eq!(outcome(&draft.sign(&key)), Err(code), "{what}");
    }
}

#[test]
fn names_that_mislead_are_refused() {
    let key = TestKey::p256();
    let many: Vec<(u8, &[u8])> = vec![(0x82, b"a.example"); 101];
    for (what, draft, code) in [
        ("NUL in CN", Draft::subject(name(0x0c, b"www.example.com\0.evil")), ErrorCode::NameControlCharacter),
        ("newline in CN", Draft::subject(name(0x13, b"a\nb")), ErrorCode::NameControlCharacter),
        ("not UTF-8", Draft::subject(name(0x0c, b"\xff")), ErrorCode::NameEncodingInvalid),
        ("not printable", Draft::subject(name(0x13, b"a@b")), ErrorCode::NameEncodingInvalid),
        ("BMPString", Draft::subject(name(0x1e, b"\0a")), ErrorCode::NameEncodingInvalid),
        ("empty CN", Draft::subject(name(0x0c, b"")), ErrorCode::NameInvalid),
        ("NUL in DNS", Draft::names(&[(0x82, b"a\0.example")]), ErrorCode::NameControlCharacter),
        ("UTF-8 in DNS", Draft::names(&[(0x82, "bücher.example".as_bytes())]), ErrorCode::NameNotAscii),
        ("Latin-1 in DNS", Draft::names(&[(0x82, b"b\xfccher.example")]), ErrorCode::NameEncodingInvalid),
        ("space in DNS", Draft::names(&[(0x82, b"a b.example")]), ErrorCode::NameInvalid),
        ("empty DNS", Draft::names(&[(0x82, b"")]), ErrorCode::NameInvalid),
        ("inner wildcard", Draft::names(&[(0x82, b"w*.example.com")]), ErrorCode::WildcardMisplaced),
        ("IP of 5 octets", Draft::names(&[(0x87, &[1, 2, 3, 4, 5])]), ErrorCode::NameInvalid),
        ("registered id", Draft::names(&[(0x88, &[0x2a])]), ErrorCode::NameKindNotAllowed),
        ("101 names", Draft::names(&many), ErrorCode::TooManyNames),
    ] {
        assert_eq!(outcome(&draft.sign(&key)), Err(code), "{what}");
    }
    let refusal = Csr::parse(&Draft::names(&[(0x82, "bücher.example".as_bytes())]).sign(&key)).unwrap_err();
    assert!(refusal.hint.unwrap().contains("xn--bcher-kva.example"));
}

#[test]
fn elliptic_curve_keys_that_are_no_points_are_refused() {
    let key = TestKey::p256();
    let public = key.public_key();
    let point = public.key_octets();
    let mut off = point.to_vec();
    off[64] ^= 1;
    let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
    let beyond = [&[4][..], &[0xff; 64]].concat();
    for (what, octets) in [
        ("off the curve", &off[..]),
        ("compressed", &compressed),
        ("at infinity", &[0]),
        ("origin", &[&[4][..], &[0; 64]].concat()),
        ("not reduced", &beyond),
        ("short", &point[..64]),
        ("empty", &[]),
    ] {
        let draft = Draft::spki(spki(P256_KEY, octets));
        assert_eq!(outcome(&draft.sign(&key)), Err(ErrorCode::EcPointInvalid), "{what}");
    }
}

#[test]
fn rsa_keys_that_are_weak_are_refused() {
    let key = TestKey::p256();
    let sound = modulus(256);
    let mut even = sound.clone();
    even[255] &= 0xfe;
    let by_three = [&[0xc0][..], &[0; 254], &[0x03]].concat();
    for (what, octets, code) in [
        ("1024 bits", rsa(&modulus(128), &[1, 0, 1]), ErrorCode::KeyTooWeak),
        ("2047 bits", rsa(&[&[0x7f], &sound[1..]].concat(), &[1, 0, 1]), ErrorCode::KeyMalformed),
        ("2056 bits", rsa(&modulus(257), &[1, 0, 1]), ErrorCode::KeyAlgorithmUnsupported),
        ("8192 bits", rsa(&modulus(1024), &[1, 0, 1]), ErrorCode::KeyAlgorithmUnsupported),
        ("even modulus", rsa(&even, &[1, 0, 1]), ErrorCode::RsaModulusWeak),
        ("multiple of 3", rsa(&by_three, &[1, 0, 1]), ErrorCode::RsaModulusWeak),
        ("exponent 3", rsa(&sound, &[3]), ErrorCode::RsaExponentInvalid),
        ("exponent 1", rsa(&sound, &[1]), ErrorCode::RsaExponentInvalid),
        ("even exponent", rsa(&sound, &[1, 0, 2]), ErrorCode::RsaExponentInvalid),
        ("huge exponent", rsa(&sound, &[1; 16]), ErrorCode::RsaExponentInvalid),
        (
            "negative modulus",
            spki(RSA_KEY, &der::sequence(&[&der::value(2, &[&sound]), &[2, 1, 3]])),
            ErrorCode::KeyMalformed,
        ),
        ("no key at all", spki(RSA_KEY, b"hello"), ErrorCode::KeyMalformed),
    ] {
        assert_eq!(outcome(&Draft::spki(octets).sign(&key)), Err(code), "{what}");
    }
}

#[test]
fn keys_of_other_algorithms_are_refused() {
    let key = TestKey::p256();
    let p521 = "301006072a8648ce3d020106052b81040023";
    let secp256k1 = "301006072a8648ce3d020106052b8104000a";
    let ed448 = "300506032b6571";
    let rsa_without_null = "300b06092a864886f70d010101";
    for algorithm in [p521, secp256k1, ed448, rsa_without_null] {
        let draft = Draft::spki(spki(algorithm, &[4; 65]));
        assert_eq!(outcome(&draft.sign(&key)), Err(ErrorCode::KeyAlgorithmUnsupported), "{algorithm}");
    }
    for (algorithm, length) in [("300506032b6570", 31), ("300b0609608648016503040312", 1951)] {
        let draft = Draft::spki(spki(algorithm, &vec![1; length]));
        assert_eq!(outcome(&draft.sign(&key)), Err(ErrorCode::KeyMalformed), "{algorithm}");
    }
}

#[test]
fn an_authority_may_ask_to_be_one() {
    let ca = der::extension(BASIC_CONSTRAINTS, &der::sequence(&[&[1, 1, 0xff]]));
    let octets = Draft::extensions(&[&ca]).sign(&TestKey::p256());
    assert_eq!(outcome(&octets), Err(ErrorCode::CsrCaTrue));
    Csr::parse_for_authority(&octets).unwrap().verify().unwrap();
}
