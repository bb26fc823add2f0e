//! Keys of `config.json` that change nothing in an evaluation, by reason.

use crate::account::Harmless;

/// The reasons, each with its keys, separated by spaces.
const GROUPS: [(&str, &str); 9] = [
    (
        "the tokenizer or the stop tokens say it",
        "bos_token_id eos_token_id pad_token_id sep_token_id cls_token_id unk_token_id mask_token_id \
         decoder_start_token_id tokenizer_class prefix model_max_length tokenizer_model_max_length \
         tokenizer_padding_side",
    ),
    (
        "only training uses it",
        "initializer_range initializer_factor attention_dropout hidden_dropout hidden_dropout_prob \
         attention_probs_dropout_prob residual_dropout embedding_dropout classifier_dropout dropout attn_pdrop \
         embd_pdrop resid_pdrop router_aux_loss_coef router_jitter_noise output_router_logits gradient_checkpointing \
         ignore_index",
    ),
    (
        "only generation uses it",
        "use_cache cache_implementation task_specific_params is_decoder assistant_confidence_threshold bad_words_ids \
         begin_suppress_tokens diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size \
         encoder_repetition_penalty epsilon_cutoff eta_cutoff exponential_decay_length_penalty forced_bos_token_id \
         forced_eos_token_id length_penalty max_length min_length no_repeat_ngram_size num_assistant_tokens \
         num_assistant_tokens_schedule num_beam_groups num_beams num_return_sequences output_scores \
         remove_invalid_values repetition_penalty return_dict_in_generate suppress_tokens temperature top_k top_p \
         typical_p",
    ),
    (
        "an evaluation has its own arithmetic",
        "dtype torch_dtype pretraining_tp slow_but_exact reorder_and_upcast_attn attention_softmax_in_fp32 \
         scale_attention_softmax_in_fp32 masked_softmax_fusion bias_dropout_fusion _attn_implementation \
         attn_implementation _attn_implementation_autoset _experts_implementation chunk_size_feed_forward",
    ),
    (
        "says where the files come from or how to load them",
        "architectures auto_map custom_pipelines _name_or_path name_or_path _commit_hash transformers_version \
         transformers.js_config unsloth_version unsloth_fixed model_name is_llama_config",
    ),
    (
        "only heads for other tasks use it",
        "id2label label2id num_labels problem_type summary_activation summary_first_dropout summary_proj_to_labels \
         summary_type summary_use_proj return_dict output_attentions output_hidden_states",
    ),
    (
        "transformers has no code for it; the authors' own code had",
        "n_ctx offset_alibi skip_bias_add skip_bias_add_qkv norm_type mlp_type full_attn_mod interpolate_factor \
         use_embedding_sharing use_gated_activation use_parallel_block use_parallel_embedding \
         order_of_interleaved_layers position_embedding_type layer_switch initial_context_length",
    ),
    (
        "text has no images, videos or audio",
        "vision_config audio_config encoder_config projector_config perceiver_config qformer_config image_token_id \
         image_token_index image_token image_seq_length image_size image_grid_pinpoints video_token_id \
         video_token_index audio_token_id audio_token_index vision_start_token_id vision_end_token_id vision_token_id \
         boi_token_id boi_token_index eoi_token_id eoi_token_index boa_token_id boa_token_index eoa_token_id eoa_token_index mm_tokens_per_image num_image_tokens \
         num_query_tokens projection_dim projector_hidden_act projector_hidden_size multimodal_projector_bias \
         spatial_merge_size scale_factor downsample_factor downsample_ratio downsample_rate adapter_layer_norm_eps \
         alignment_intermediate_size has_lora_adapter window_size vision_aspect_ratio vision_feature_layer \
         vision_feature_layers vision_feature_select_strategy vision_select_layer use_image_newline_parameter \
         mm_hidden_size mm_projector_lr mm_projector_type mm_patch_merge_type mm_resampler_type mm_use_im_patch_token \
         mm_use_im_start_end mm_vision_select_feature mm_vision_select_layer mm_vision_tower mm_vision_tower_lr \
         freeze_mm_mlp_adapter freeze_mm_vision_resampler tune_mm_mlp_adapter tune_mm_vision_resampler \
         unfreeze_mm_vision_tower use_mm_proj image_aspect_ratio image_crop_resolution image_split_resolution",
    ),
    ("the text decoder has its own", "hidden_size vocab_size model_type"),
];

/// The keys that any configuration may have, outer or of a decoder.
pub fn harmless() -> impl Iterator<Item = Harmless> {
    GROUPS.into_iter().flat_map(|(reason, keys)| keys.split_whitespace().map(move |key| (key, reason)))
}
