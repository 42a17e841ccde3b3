"""What the support desk calls: why, and retry, which never pays."""

from __future__ import annotations

import click

from withdrawals.cli.context import Context, fail, json_option, pass_context
from withdrawals.cli.printing import print_json, print_story
from withdrawals.errors import NotAllowed


@click.command("why")
@click.argument("name")
@json_option
@pass_context
def why_command(context: Context, name: str, *, as_json: bool) -> None:
    """The whole story of NAME: a request id, our id, an address, an outpoint, or any txid or wtxid."""
    with context.processor() as processor:
        stories = processor.why(name)
    if as_json:
        print_json(stories)
        return
    for story in stories:
        print_story(story, whole=True)


@click.command("retry")
@click.argument("request_id")
@json_option
@pass_context
def retry_command(context: Context, request_id: str, *, as_json: bool) -> None:
    """Never pays: shows the evidence, says why not, and exits with 3."""
    with context.processor() as processor:
        story = processor.show(request_id)
        if not as_json:
            print_story(story, whole=True)
        try:
            processor.retry(request_id)
        except NotAllowed as refusal:
            fail(refusal, as_json=as_json, evidence=story)
