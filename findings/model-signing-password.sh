#!/usr/bin/env bash
# model-signing 1.1.1 (OpenSSF) with sigstore 4.5.1, installed by pip.
#
# Behaviour: 1. `import model_signing` fails after `pip install model-signing`: it imports OpenSSL (pyOpenSSL), which neither
#   it nor what it requires names. 2. A private key with a password cannot be used as declared: `use_elliptic_key_signer(
#   private_key, password: str | None)` hands the text to a function that takes bytes alone, and raises `TypeError`.
# The good guesses that were wrong: what pip installs can be imported; a password is a text, as the signature says.
# What helps: `pip install model-signing pyopenssl`; the password as bytes, which a type checker refuses.
#
# Output seen: "import: No module named 'OpenSSL'; text: TypeError; bytes: signed".
# Exits 0 while that holds, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip() { "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }

pip model-signing==1.1.1 sigstore==4.5.1
imported=$("$folder/venv/bin/python" -c '
try:
    import model_signing
    print("works")
except ImportError as error:
    print(error)
')

pip pyopenssl==26.4.0
openssl ecparam -name prime256v1 -genkey -noout |
  openssl ec -aes256 -passout pass:open -out "$folder/key.pem" 2>/dev/null
printf 'weights' >"$folder/model.bin"
cat >"$folder/sign.py" <<'PYTHON'
"""Sign with a locked key, its password as text and as bytes; print what comes of each."""

import sys
from pathlib import Path

from model_signing import signing


def sign(folder, password):
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=folder / "key.pem", password=password)
        config.sign(folder / "model.bin", folder / "model.sig")
    except TypeError:
        return "TypeError"
    return "signed"


folder = Path(sys.argv[1])
print(f"text: {sign(folder, 'open')}; bytes: {sign(folder, b'open')}")
PYTHON
seen="import: $imported; $("$folder/venv/bin/python" "$folder/sign.py" "$folder")"
echo "$seen"
test "$seen" = "import: No module named 'OpenSSL'; text: TypeError; bytes: signed"
