"""Lints every file of a folder with pkilint: *.der certificates, *.crl and *.arl revocation lists, *.ocsp responses.

Prints one JSON object per line for each finding above NOTICE, and the number of files per kind at the end.
pkilint's own programs take half a second for each file; its library a few milliseconds.
"""

import collections
import json
import pathlib
import sys

from pkilint import loader, pkix
from pkilint.pkix import certificate, crl, extension, name, ocsp
from pkilint.validation import ValidationFindingSeverity


def certificates():
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


def decoders():
    return [
        pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
        pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
    ]


def revocation_lists():
    parts = [
        crl.create_issuer_validator_container([]),
        crl.create_validity_validator_container([]),
        crl.create_extensions_validator_container([]),
    ]
    return crl.create_pkix_crl_validator_container(decoders(), parts)


def responses():
    return ocsp.create_pkix_ocsp_response_validator_container([ocsp.create_response_decoder(), *decoders()], [])


KINDS = {
    ".der": (certificates(), loader.RFC5280CertificateDocumentLoader()),
    ".crl": (revocation_lists(), loader.RFC5280CertificateListDocumentLoader()),
    ".ocsp": (responses(), loader.RFC6960OCSPResponseDocumentLoader()),
}


def findings(path):
    validators, documents = KINDS[path.suffix]
    document = documents.load_der_document(path.read_bytes(), path.name)
    for result in validators.validate(document.root):
        for description in result.finding_descriptions:
            if description.finding.severity < ValidationFindingSeverity.NOTICE:
                yield {
                    "file": path.name,
                    "severity": description.finding.severity.name,
                    "code": description.finding.code,
                    "path": result.node.path,
                    "value": str(result.node.pdu)[:200],
                    "message": description.message,
                }


def main():
    linted = collections.Counter()
    for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
        if path.suffix in KINDS:
            linted[path.suffix] += 1
            for finding in findings(path):
                print(json.dumps(finding))
    print(json.dumps({"linted": linted}))


if __name__ == "__main__":
    main()
