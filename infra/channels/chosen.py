"""Who speaks with which provider."""

from collections.abc import Mapping

from domain.channels.model import Provider
from domain.channels.ports import Messenger
from domain.kernel.outbound import Outbound
from infra.channels.mail import Mail
from infra.channels.slack import Slack
from infra.channels.smtp import connecting
from infra.channels.telegram import Telegram
from infra.settings import Settings


def messengers(settings: Settings, outbound: Outbound) -> Mapping[str, Messenger]:
    """All of them, by provider."""
    return {
        Provider.TELEGRAM: Telegram(outbound),
        Provider.SLACK: Slack(outbound),
        Provider.EMAIL: Mail(connecting(settings.outbound_networks)),
    }
