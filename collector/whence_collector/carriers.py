"""Programs that write down what others hand them: what they write was made elsewhere. Data, pure.

A file that came over a network is written by such a program on the host that receives it, and none
of its reads tells where the content is from: only an equal content that was made before does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whence_collector.command_line import base_name, words_of

if TYPE_CHECKING:
    from whence_collector.resolved import ProcessRow

CARRIERS = frozenset(
    "sshd sshd-session sftp-server sftp scp rsync nc ncat socat curl wget aria2c ftp lftp "  # noqa: SIM905 -- fits
    "rclone s5cmd s3cmd aws gsutil gcloud azcopy mc hf huggingface-cli croc wormhole "
    "tar bsdtar cpio unzip 7z globus smbclient nfsd rpc.nfsd syncthing unison".split()
)


def carries(row: ProcessRow) -> bool:
    """Tell whether a program is one of them."""
    return base_name(row.exe) in CARRIERS or words_of(row)[0] in CARRIERS
