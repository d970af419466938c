"""What an operation needs to be there before it can succeed, made on both twins; and what is compared elsewhere."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tests.contract.drawing import Drawing, fresh

if TYPE_CHECKING:
    from tests.contract.test_rest_says_what_graphql_says import World

Recipe = Callable[["World", Drawing], dict[str, Any]]

# Operations that need somebody outside, or a token that only the server can make; and where they are tested.
ELSEWHERE: Mapping[str, str] = {
    "rootcx.consumeMagicLink": "tests/sign_in: takes a token that was made before",
    "rootcx.followMagicLink": "tests/sign_in: takes a token that was made before",
    "rootcx.saveOidcProvider": "tests/sign_in: asks the provider",
    "rootcx.authorizeOidc": "tests/sign_in: asks the provider",
    "rootcx.oidcCallback": "tests/sign_in: asks the provider",
    "rootcx.exchangeOidcToken": "tests/sign_in: asks the provider",
    "rootcx.exchangeNonce": "tests/sign_in: takes a token that was made before",
    "rootcx.deleteOidcProvider": "tests/sign_in: asks the provider",
    "rootcx.downloadByNonce": "tests/storage: takes a token that was made before",
    "rootcx.workerStatus": "tests/workers: asks the app's worker",
    "rootcx.startWorker": "tests/workers: asks the app's worker",
    "rootcx.stopWorker": "tests/workers: asks the app's worker",
    "rootcx.rpc": "tests/workers: asks the app's worker",
    "rootcx.runIntegrationAction": "tests/integrations: asks the other service",
    "rootcx.startIntegrationAuth": "tests/integrations: answers with a state that nobody else has",
    "rootcx.integrationAuthCallback": "tests/integrations: takes a state that was made before",
    "rootcx.confirmIntegrationAuth": "tests/integrations: takes a token that was made before",
    "rootcx.getAgent": "tests/agents: takes an agent, which takes deployed code",
    "rootcx.updateAgent": "tests/agents: takes an agent, which takes deployed code",
    "rootcx.deleteAgent": "tests/agents: takes an agent, which takes deployed code",
    "rootcx.getAgentSession": "tests/agents: takes an agent that was asked",
    "rootcx.listAgentSessionEvents": "tests/agents: takes an agent that was asked",
    "rootcx.executeTool": "tests/agents: takes arguments that fit the tool",
    "rootcx.decideAgentApproval": "tests/agents: takes an agent that waits",
    "rootcx.receiveWebhook": "tests/jobs: asks the app's worker",
    "rootcx.createChannel": "tests/channels: answers with a secret that nobody else has",
    "rootcx.activateChannel": "tests/channels: asks the provider",
    "rootcx.linkChannel": "tests/channels: takes a channel that the provider has been asked about",
    "rootcx.unlinkChannel": "tests/channels: takes somebody who has written to the channel",
    "rootcx.receiveChannelMessage": "tests/channels: takes what a provider signed",
    "stoa.readFile": "tests/storage: takes a token that was made before",
    "stoa.readExport": "tests/transfer: takes a token that was made before",
}


def _record(world: "World", drawing: Drawing) -> dict[str, Any]:
    made = world.both(
        'mutation ($values: JSONObject!) { createRecord(app: "stage", entity: "parcels", values: $values) }',
        values={"code": fresh("D")(drawing)},
    )
    return {"appId": "stage", "entity": "parcels", "id": made["createRecord"]["id"]}


def _role(world: "World", drawing: Drawing) -> dict[str, Any]:
    name = fresh("role")(drawing)
    world.both("mutation ($name: String!) { createRole(name: $name) { name } }", name=name)
    return {"roleName": name}


def _app_role(world: "World", drawing: Drawing) -> dict[str, Any]:
    name = fresh("role")(drawing)
    world.both('mutation ($name: String!) { createRole(name: $name, app: "stage") { name } }', name=name)
    return {"appId": "stage", "roleName": name}


def _held_role(world: "World", drawing: Drawing) -> dict[str, Any]:
    name, user = _role(world, drawing)["roleName"], drawing.random.choice(drawing.things["user"])
    world.both("mutation ($user: UUID!, $role: String!) { assignRole(user: $user, role: $role) }", user=user, role=name)
    return {"userId": user, "role": name}


def _user(world: "World", drawing: Drawing) -> dict[str, Any]:
    made = world.both(
        "mutation ($name: String!, $password: String!) { register(username: $name, password: $password) { id } }",
        name=fresh("user")(drawing),
        password="Str0ngPass1",
    )
    return {"id": made["register"]["id"]}


def _session(world: "World", drawing: Drawing) -> dict[str, Any]:
    """A refresh token of the stage, whose sessions both twins know."""
    return {"refreshToken": drawing.random.choice([world.stage.admin.refresh_token, world.stage.plain.refresh_token])}


def _manifest(world: "World", drawing: Drawing) -> dict[str, Any]:
    app_id = f"app_{drawing.random.getrandbits(32):x}"
    fields = [{"name": "title", "type": "text", "required": True}, {"name": "size", "type": "number"}]
    return {"manifest": {"appId": app_id, "name": "New", "dataContract": [{"entityName": "items", "fields": fields}]}}


def _app(world: "World", drawing: Drawing) -> dict[str, Any]:
    declared = _manifest(world, drawing)["manifest"]
    world.both("mutation ($manifest: JSONObject!) { installApp(manifest: $manifest) { created } }", manifest=declared)
    return {"appId": declared["appId"]}


def _magic_link(world: "World", drawing: Drawing) -> dict[str, Any]:
    email = f"{fresh('someone')(drawing)}@example.com"
    return {"input": {"email": email, "expiresInSeconds": drawing.random.choice([60, 900, 86400])}}


def _secret(world: "World", drawing: Drawing) -> dict[str, Any]:
    key = f"GONE_{drawing.random.getrandbits(40):X}"
    world.both('mutation ($key: String!) { setSecret(key: $key, value: "x") { workersRestarted } }', key=key)
    return {"key": key}


def _app_secret(world: "World", drawing: Drawing) -> dict[str, Any]:
    key = f"GONE_{drawing.random.getrandbits(40):X}"
    query = 'mutation ($key: String!) { setSecret(app: "stage", key: $key, value: "x") { workersRestarted } }'
    world.both(query, key=key)
    return {"appId": "stage", "key": key}


def _bucket(world: "World", drawing: Drawing) -> dict[str, Any]:
    name = fresh("bucket")(drawing)
    world.both("mutation ($name: String!) { createBucket(name: $name) { name } }", name=name)
    return {"name": name}


def _folder(world: "World", drawing: Drawing) -> dict[str, Any]:
    made = world.both(
        'mutation ($name: String!) { createFolder(bucket: "shelf", name: $name) { id } }', name=fresh("folder")(drawing)
    )
    return {"bucket": "shelf", "id": made["createFolder"]["id"]}


def _file(world: "World", drawing: Drawing) -> dict[str, Any]:
    made = world.uploaded("/api/v1/storage/objects/shelf/upload", fresh("file")(drawing))
    return {"bucket": "shelf", "id": made["id"]}


def _app_file(world: "World", drawing: Drawing) -> dict[str, Any]:
    made = world.uploaded("/api/v1/apps/stage/storage/upload", fresh("file")(drawing))
    return {"appId": "stage", "fileId": made["file_id"]}


def _new_job(world: "World", drawing: Drawing) -> dict[str, Any]:
    return {"appId": "stage", "user_id": None}


def _job(world: "World", drawing: Drawing) -> dict[str, Any]:
    made = world.both('mutation { enqueueJob(app: "stage", job: {payload: {n: 1}}) { id number } }')
    return {"appId": "stage", "jobId": drawing.random.choice([str(value) for value in made["enqueueJob"].values()])}


def _connection(world: "World", drawing: Drawing) -> dict[str, Any]:
    query = """mutation ($label: String) {
        connectIntegration(integration: "http", credentials: {key: 1}, label: $label) { id }
    }"""
    made = world.both(query, label=fresh("key")(drawing))
    return {"id": "http", "connId": made["connectIntegration"]["id"]}


def _config(world: "World", drawing: Drawing) -> dict[str, Any]:
    query = """mutation ($label: String!) {
        createIntegrationConfig(integration: "http", label: $label, credentials: {baseUrl: "https://a.example"}) { id }
    }"""
    made = world.both(query, label=fresh("config")(drawing))
    return {"id": "http", "cid": made["createIntegrationConfig"]["id"]}


def _binding(world: "World", drawing: Drawing) -> dict[str, Any]:
    scope = drawing.random.choice(["APP", "USER"])
    query = """mutation ($scope: BindingScope!) {
        bindIntegration(app: "stage", integration: "http", scope: $scope) { id }
    }"""
    world.both(query, scope=scope)
    return {"appId": "stage", "id": "http", "scope": scope}


def _new_cron(world: "World", drawing: Drawing) -> dict[str, Any]:
    schedule = drawing.random.choice(["0 3 * * *", "*/7 1-5 1,15 * 0-3", "0 0 $ * *"])
    zone = drawing.random.choice([None, "Europe/Paris"])
    return {"appId": "stage", "name": fresh("cron")(drawing), "schedule": schedule, "timezone": zone, "runAs": None}


def _cron(world: "World", drawing: Drawing) -> dict[str, Any]:
    made = world.both(
        'mutation ($name: String!) { createCron(app: "stage", name: $name, schedule: "0 3 * * *") { id } }',
        name=fresh("cron")(drawing),
    )
    return {"appId": "stage", "id": made["createCron"]["id"]}


def _rescheduled_cron(world: "World", drawing: Drawing) -> dict[str, Any]:
    return {**_cron(world, drawing), "schedule": drawing.random.choice([None, "15 2 * * *"])}


def _hook(world: "World", drawing: Drawing) -> dict[str, Any]:
    made = world.both(
        'mutation { createRecordHook(app: "stage", entity: "labels", operation: DELETE) { id } }',
    )
    return {"appId": "stage", "id": made["createRecordHook"]["id"]}


def _new_hook(world: "World", drawing: Drawing) -> dict[str, Any]:
    operation = drawing.random.choice(["INSERT", "UPDATE", "DELETE"])
    return {"appId": "stage", "entity": "labels", "operation": operation, "action_config": None, "runAs": None}


RECIPES: Mapping[str, Recipe] = {
    "rootcx.deleteRecord": _record,
    "rootcx.updateRole": _role,
    "rootcx.deleteRole": _role,
    "rootcx.deleteAppRole": _app_role,
    "rootcx.revokeRole": _held_role,
    "rootcx.deleteUser": _user,
    "rootcx.refresh": _session,
    "rootcx.logout": _session,
    "rootcx.installApp": _manifest,
    "rootcx.verifySchema": _manifest,
    "rootcx.uninstallApp": _app,
    "rootcx.generateMagicLink": _magic_link,
    "rootcx.deletePlatformSecret": _secret,
    "rootcx.deleteAppSecret": _app_secret,
    "rootcx.deleteBucket": _bucket,
    "rootcx.updateObject": _folder,
    "rootcx.deleteObject": _folder,
    "rootcx.downloadObject": _file,
    "rootcx.downloadAppFile": _app_file,
    "rootcx.deleteAppFile": _app_file,
    "rootcx.deleteIntegrationConnection": _connection,
    "rootcx.deleteIntegrationConfig": _config,
    "rootcx.unbindIntegration": _binding,
    "rootcx.enqueueJob": _new_job,
    "rootcx.getJob": _job,
    "rootcx.getHook": _hook,
    "rootcx.createHook": _new_hook,
    "rootcx.deleteHook": _hook,
    "rootcx.createCron": _new_cron,
    "rootcx.updateCron": _rescheduled_cron,
    "rootcx.deleteCron": _cron,
    "rootcx.listCronRuns": _cron,
    "rootcx.triggerCron": _cron,
}
