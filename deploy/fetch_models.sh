#!/usr/bin/env bash
# Every model of the hub that `echat200k` names, into the cache of this node ($HF_HOME); what is there is left as it is.
#   HF_TOKEN   of an account that accepted the terms of pyannote/speaker-diarization-community-1
# The speech tokens' weights are on ModelScope alone, and lie on the disk that all nodes share: docs/cluster.md.
set -euo pipefail
export HF_HUB_OFFLINE=0
hf download FunAudioLLM/Fun-CosyVoice3-0.5B-2512
hf download Systran/faster-whisper-large-v3
hf download facebook/wav2vec2-base-960h
hf download jonatasgrosman/wav2vec2-large-xlsr-53-chinese-zh-cn
hf download audeering/wav2vec2-large-robust-24-ft-age-gender
hf download emotion2vec/emotion2vec_plus_large
hf download pyannote/speaker-diarization-community-1
