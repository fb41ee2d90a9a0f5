"""Make a Florence-2 of 40,000 weights that gives the same chosen answer for every picture."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BartConfig,
    CLIPImageProcessor,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    PreTrainedTokenizerFast,
)
from transformers.models.florence2.configuration_florence2 import Florence2VisionConfig

SIDE = 32
SAYS = "dog<loc_100><loc_200><loc_499><loc_599>cat<loc_600><loc_0><loc_999><loc_299><loc_0><loc_0><loc_49><loc_49>"
_IMAGE_TOKENS = (SIDE // 32) ** 2 + 1
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_PARSES = ("pure_text", "description_with_bboxes", "description_with_bboxes_or_polygons")


def save(folder: Path, says: str | None = SAYS, places: int = 256) -> Path:
    """Write the model in Hugging Face's layout. If `says` is None, its weights and answers are random.

    Questions and answers have at most `places` tokens.
    """
    tokenizer = _tokenizer()
    model = _model(tokenizer, places)
    if says is not None:
        _teach(model, [*tokenizer.encode(says, add_special_tokens=False), tokenizer.eos_token_id])
    model.save_pretrained(folder)
    _processor(tokenizer).save_pretrained(folder)
    return folder


def _model(tokenizer: PreTrainedTokenizerFast, places: int) -> Florence2ForConditionalGeneration:
    vision = Florence2VisionConfig(
        depths=(1, 1, 1, 1),
        embed_dim=(8, 8, 8, 8),
        num_heads=(1, 1, 1, 1),
        num_groups=(1, 1, 1, 1),
        window_size=2,
        projection_dim=16,
        mlp_ratio=1.0,
        drop_path_rate=0.0,
    )
    text = BartConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=1,
        decoder_attention_heads=1,
        max_position_embeddings=places,
        dropout=0.0,
    )
    torch.manual_seed(0)
    config = Florence2Config(vision_config=vision, text_config=text, image_token_id=tokenizer.image_token_id)
    return Florence2ForConditionalGeneration(config).eval()


def _tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer whose tokens are single bytes, so that it can say anything, and 1,000 places."""
    tokens = (*_SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    plain = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL])
    plain.add_special_tokens([AddedToken(f"<loc_{place}>", special=True) for place in range(1000)])
    plain.add_special_tokens([AddedToken(token, special=True) for token in ("<poly>", "</poly>", "<sep>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )


def _processor(tokenizer: PreTrainedTokenizerFast) -> Florence2Processor:
    size = {"height": SIDE, "width": SIDE}
    pictures = CLIPImageProcessor(
        size=size,
        crop_size=size,
        do_center_crop=False,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
        image_seq_length=_IMAGE_TOKENS,
    )
    return Florence2Processor(pictures, tokenizer, post_processor_config={name: {} for name in _PARSES})


@torch.no_grad()
def _teach(model: Florence2ForConditionalGeneration, tokens: list[int]) -> None:
    """Set the decoder's layers to add nothing, and each position's embedding to point at the answer's next token."""
    words = torch.randn_like(model.lm_head.weight)
    words = torch.nn.functional.normalize(words - words.mean(dim=1, keepdim=True), dim=1)
    model.lm_head.weight.copy_(words)
    decoder = model.model.language_model.decoder
    for layer in decoder.layers:
        for last in (layer.self_attn.out_proj, layer.encoder_attn.out_proj, layer.fc2):
            last.weight.zero_()
            last.bias.zero_()
    places = decoder.embed_positions
    for place, token in enumerate(tokens):
        places.weight[place + places.offset] = 100 * words[token]
