"""An S3 service for the suite of backing stores: moto's, with one container, one user and their key, who must sign.

    python s3.py PORT CONTAINER ACCESS_KEY SECRET

One request at a time, so that its conditional writes are what they promise.
"""

import sys

import moto.settings
from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import run_simple

# The account that moto has for whoever does not say another.
ACCOUNT = "123456789012"
ALLOW_ALL = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'


def main():
    port, container, access_key, secret = sys.argv[1:]
    iam = iam_backends[ACCOUNT]["aws"]
    iam.create_user("us-east-1", "evanesce")
    iam.put_user_policy("evanesce", "all", ALLOW_ALL)
    key = iam.create_access_key("evanesce")
    key.access_key_id, key.secret_access_key = access_key, secret
    s3_backends[ACCOUNT]["aws"].create_bucket(container, "us-east-1")
    # From now on every request must be signed by somebody who may.
    moto.settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    application = DomainDispatcherApplication(create_backend_app)
    run_simple("127.0.0.1", int(port), application, threaded=False)


main()
