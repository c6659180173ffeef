#!/bin/sh
# Builds the virtual environment /opt/spilo from the locked requirements (first argument). The compiler and pip
# that this takes stay in this build stage; only the environment is copied into the image.
set -eu
export DEBIAN_FRONTEND=noninteractive

apt-get update -qq
apt-get install -y -qq --no-install-recommends ca-certificates gcc libc6-dev libpq-dev \
    python3-dev python3-installer python3-pip python3-setuptools python3-venv python3-wheel >/dev/null

# Without isolation, packages that come as source are built by Debian's setuptools, not by whatever is newest.
python3 -m pip wheel -q --no-cache-dir --no-deps --no-build-isolation --wheel-dir /tmp/wheels -r "$1"
python3 -m venv --without-pip /opt/spilo
python3 -m pip --python /opt/spilo/bin/python install -q --no-deps --no-index --no-compile /tmp/wheels/*.whl
python3 -m pip --python /opt/spilo/bin/python check
rm -rf /tmp/wheels

cd /opt/spilo/lib/python3*/site-packages

# Of the descriptions of 400 AWS services, those that the product or an operator's script beside it uses.
# The others are put aside for the test image, whose imitation of AWS reads them.
rest=/opt/rest/${PWD#/opt/spilo/}/botocore/data
mkdir -p "$rest"
for service in botocore/data/*/; do
    case $(basename "$service") in
        autoscaling | cloudformation | cloudwatch | ec2 | kms | logs | s3 | s3control | secretsmanager | signin | \
            ssm | sso | sso-oidc | sts) ;;
        *) mv "$service" "$rest" ;;
    esac
done
rm -rf boto3/examples certifi/tests etcd/tests supervisor/tests

# One trust store, the system's: an authority added there is trusted by every program in the image.
for bundle in botocore/cacert.pem certifi/cacert.pem; do
    test -f "$bundle"
    ln -sf /etc/ssl/certs/ca-certificates.crt "$bundle"
done

find . -name '*.so' -exec strip --strip-unneeded {} +

# Compiled against the content, not the time, of each source: the same input gives the same files.
/opt/spilo/bin/python -m compileall -q -j 0 --invalidation-mode checked-hash "$PWD"
